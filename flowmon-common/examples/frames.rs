//! Writes the golden frames as the bytes they are, a file each: `frames FOLDER`.
#![expect(clippy::panic, reason = "a developer's tool may fail by panicking")]

#[path = "../tests/support/golden.rs"]
#[expect(dead_code, reason = "here only the bytes count")]
mod golden;

use std::{env, fs, path::PathBuf};

fn main() {
    let folder = PathBuf::from(
        env::args_os()
            .nth(1)
            .unwrap_or_else(|| panic!("which folder?")),
    );
    for golden in golden::load() {
        let path = folder.join(golden.name);
        fs::write(&path, golden.bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
