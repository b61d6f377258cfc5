//! How far the log had come when its shard was given back.
//!
//! After a crash the log's last record may be torn, and is cut off. After an orderly end it was
//! acknowledged, and its loss is damage: this file tells the two apart. It is a lower bound that
//! stays true for ever, so nobody has to remove it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::directory::sync_directory;
use super::disk::{Blank, Volume};
use crate::store::StoreError;

const FILE: &str = "reached";
const NEW_FILE: &str = "reached.new";

/// The number of the last record (u64 LE) and its checksum (u32 LE).
const BYTES: usize = 8 + 4;

/// Notes that record `sequence` is durable.
pub(super) fn write(
    volume: &Arc<Volume>,
    directory: &Path,
    sequence: u64,
) -> Result<(), StoreError> {
    let (file, new_path) = Blank::new(directory.join(NEW_FILE))?.into_file();
    let io = |error| StoreError::from_io(&new_path, error);
    let mut bytes = sequence.to_le_bytes().to_vec();
    bytes.extend_from_slice(&checksum(sequence));
    volume.write(&file, &new_path, 0, &bytes).map_err(io)?;
    volume.sync(&file, &new_path).map_err(io)?;
    let path = directory.join(FILE);
    fs::rename(&new_path, &path).map_err(|error| StoreError::from_io(&path, error))?;
    sync_directory(directory)
}

/// The number of a record that the log must have: 0 where it was never given back.
pub(super) fn read(directory: &Path) -> Result<u64, StoreError> {
    let path = directory.join(FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(StoreError::from_io(&path, error)),
    };
    let read = || {
        let (sequence, stored) = bytes.split_first_chunk::<8>()?;
        let sequence = u64::from_le_bytes(*sequence);
        (bytes.len() == BYTES && stored == checksum(sequence)).then_some(sequence)
    };
    read().ok_or_else(|| StoreError::Damaged {
        path: path.clone(),
        what: "it does not match its checksum".to_owned(),
    })
}

fn checksum(sequence: u64) -> [u8; 4] {
    crc32fast::hash(&sequence.to_le_bytes()).to_le_bytes()
}
