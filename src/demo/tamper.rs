//! What somebody with write access to a copy of the store might do: take one record out of a sealed segment, as
//! cleanly as it can be done without the signing key.

use crate::{
    error::{Error, Result},
    position::Position,
    segment,
};
use std::path::Path;

/// Copies a directory store.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = |what: &Path, e: std::io::Error| Error::config(format!("copying {}", what.display())).caused_by(e);
    std::fs::create_dir_all(to).map_err(|e| failed(to, e))?;
    for entry in std::fs::read_dir(from).map_err(|e| failed(from, e))? {
        let entry = entry.map_err(|e| failed(from, e))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            std::fs::copy(&path, &target).map_err(|e| failed(&path, e))?;
        }
    }
    Ok(())
}

/// Takes the record at `position` out of the segment in `file`: its block is written anew without it, everything
/// else stays, the signed manifest too, for want of the key.
pub fn remove_record(file: &Path, position: &Position) -> Result<()> {
    let bytes = std::fs::read(file).map_err(|e| unreadable(file, e))?;
    let forged = segment::without_record(&bytes, position.offset)
        .ok_or_else(|| Error::bug(format!("{} does not hold {position}", file.display())))?;
    // segments are read-only files: somebody who owns the folder is not stopped by that
    std::fs::remove_file(file).map_err(|e| unreadable(file, e))?;
    std::fs::write(file, forged).map_err(|e| unreadable(file, e))
}

fn unreadable(file: &Path, e: std::io::Error) -> Error {
    Error::config(format!("rewriting {}", file.display())).caused_by(e)
}
