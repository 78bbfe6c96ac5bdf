//! Running the command.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};

/// What a command did.
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A folder that is removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("flowmon-audit-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// A file in it, by its whole name.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the folder for temporary files is not worth a panic.
        let _left = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn example(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    root.join(name).to_str().unwrap().to_owned()
}

/// `flowmon audit` of a log, by the example policies.
pub(crate) fn audit(flows: &str, args: &[&str]) -> Finished {
    audit_stdin(flows, args, b"")
}

/// The same, with something on standard input.
pub(crate) fn audit_stdin(flows: &str, args: &[&str], stdin: &[u8]) -> Finished {
    let mut child = command(flows, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    let writing = std::thread::spawn(move || input.write_all(&stdin));
    let output = child.wait_with_output().unwrap();
    // A command that does not read its input to the end is judged by what it says.
    let _written = writing.join().unwrap();
    Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn command(flows: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowmon"));
    command
        .args(["audit", "--flows", flows])
        .args(["--policies", &example("shop")])
        .args(["--inventory", &example("shop-inventory.yaml")])
        .args(args);
    command
}

/// The records that `--output json` printed, and the summary.
pub(crate) fn said(finished: &Finished) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let summary = lines.pop().unwrap();
    assert_eq!(summary["schema"], "flowmon.summary.v1");
    (lines, summary)
}

/// A record of a flow between two addresses of the example; nothing but what must be there.
pub(crate) fn record(direction: &str, local: (&str, u16), remote: (&str, u16)) -> Value {
    json!({
        "schema": "flowmon.flow.v1", "time": "2026-11-22T10:00:00.000000000Z",
        "direction": direction, "protocol": "tcp",
        "local": {"ip": local.0, "port": local.1}, "remote": {"ip": remote.0, "port": remote.1},
    })
}

/// From the cart to redis: allowed at 6379, denied at all other ports.
pub(crate) fn cart_to_redis(port: u16) -> Value {
    record("egress", ("10.1.0.5", 40_000), ("10.1.0.9", port))
}

/// A summary of a run that lost nothing.
pub(crate) fn complete() -> Value {
    json!({"schema": "flowmon.summary.v1", "lost": {"events": 0}, "complete": true})
}

pub(crate) fn lines(records: &[Value]) -> String {
    records.iter().fold(String::new(), |mut text, record| {
        text.push_str(&record.to_string());
        text.push('\n');
        text
    })
}
