//! `flowmon test` with real traffic.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod ends;
mod faults;
mod kubernetes;
mod scenarios;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use flowmon::lab::Namespace;
use netns_tests::{Finished, flowmon};
use serde_json::Value;

type TestResult = Result<(), Box<dyn Error>>;

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Result<Self, std::io::Error> {
        let name = format!("flowmon-rehearsal-{}-{test}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn file(&self, name: &str, text: &str) -> Result<String, std::io::Error> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the folder for temporary files is not worth a panic.
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// The project's own scenarios.
fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

/// `flowmon test --output json` in a namespace of its own: how it ended, the expectations, the summary.
fn played(path: &str) -> Result<(Finished, Vec<Value>, Value), Box<dyn Error>> {
    let host = Namespace::new("host")?;
    let finished = flowmon(&host, &["test", path, "--output", "json"]);
    let lines: Result<Vec<Value>, _> = finished.stdout.lines().map(serde_json::from_str).collect();
    let mut lines = lines?;
    let summary = lines.pop().ok_or_else(|| finished.stderr.clone())?;
    Ok((finished, lines, summary))
}
