//! Writes the Rust client's stubs from the schema; with `--check` says whether they are up to date.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};

/// The one file of stubs: one for each package of the schema.
const STUBS: &str = "holdfast.v1.rs";

fn main() -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = here.join("../src/generated").join(STUBS);
    let made = generate(&here.join("../../../proto"))?;
    if env::args().any(|argument| argument == "--check") {
        let current = fs::read_to_string(&committed).unwrap_or_default();
        ensure!(
            current == made,
            "the Rust client's stubs are not those of the schema: run `cargo run -p holdfast-client-generate`"
        );
    } else {
        fs::write(&committed, made).with_context(|| committed.display().to_string())?;
    }
    Ok(())
}

/// The stubs of every service.
fn generate(proto: &Path) -> Result<String> {
    let folder = proto.join("holdfast/v1");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        files.push(entry?.path());
    }
    // The order of a directory is nobody's promise.
    files.sort();
    let descriptors = protox::compile(files, [proto])?;
    let out = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .build_server(false)
        .btree_map(".")
        .out_dir(out.path())
        .compile_fds(descriptors)?;
    Ok(fs::read_to_string(out.path().join(STUBS))?)
}
