//! What the fuzzer found worth keeping, as tests.

use std::{fs, path::Path};

/// Checks every input in `fuzz/corpus/TARGET`.
#[expect(
    clippy::print_stdout,
    reason = "tells which input it was when one fails"
)]
pub(crate) fn replay(target: &str, check: fn(&[u8])) {
    // Each crate that has this test is next to `fuzz`.
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let inputs =
        fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut count = 0;
    for input in inputs {
        let path = input
            .unwrap_or_else(|error| panic!("{}: {error}", corpus.display()))
            .path();
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("{}", path.display());
        check(&bytes);
        count += 1;
    }
    assert!(count > 0, "{} is empty", corpus.display());
}
