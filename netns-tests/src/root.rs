//! What a test can't do without: root, and other programs.

use std::{env, path::PathBuf};

use nix::unistd::geteuid;

/// May the calling test run? Network namespaces and eBPF need root: without it the test says
/// loudly that it was skipped. Under `CI=true` a skipped test is a failed one.
pub fn require_root(test: &str) -> bool {
    geteuid().is_root() || skipped(test, "root (sudo -E)")
}

/// May the calling test run? As [`require_root`], and it needs these programs too.
pub fn require_programs(test: &str, programs: &[&str]) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .collect();
    let is_there = |program: &str| folders.iter().any(|folder| folder.join(program).exists());
    let missing: Vec<_> = programs
        .iter()
        .copied()
        .filter(|program| !is_there(program))
        .collect();
    require_root(test)
        && (missing.is_empty() || {
            let what = format!("{}: ./scripts/setup runtimes", missing.join(", "));
            skipped(test, &what)
        })
}

fn skipped(test: &str, needs: &str) -> bool {
    assert!(
        env::var("CI").as_deref() != Ok("true"),
        "{test} needs {needs}, and CI skips nothing"
    );
    #[expect(clippy::print_stderr, reason = "a test's diagnostics are its output")]
    {
        eprintln!("\n*** SKIPPED: {test} needs {needs} ***\n");
    }
    false
}
