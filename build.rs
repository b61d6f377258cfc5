//! Compiles the schema in pure Rust, so that a build needs nothing but Rust.

use std::{env, fs, path::PathBuf};

const FILES: [&str; 9] = [
    "holdfast/v1/call_error.proto",
    "holdfast/v1/callback.proto",
    "holdfast/v1/fifo_service.proto",
    "holdfast/v1/lease_service.proto",
    "holdfast/v1/lock_service.proto",
    "holdfast/v1/queue_service.proto",
    "holdfast/v1/session_service.proto",
    "holdfast/v1/value_service.proto",
    "holdfast/v1/webhook_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("holdfast.v1.bin");
    fs::write(out, prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        .btree_map(".")
        .codec_path("crate::api::grpc::codec::Codec")
        .compile_fds(descriptors)?;
    Ok(())
}
