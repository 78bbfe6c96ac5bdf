//! Namespaces and eBPF need root.

use std::env;

use nix::unistd::geteuid;

/// May the calling test run? Network namespaces and eBPF need root: without it the test says
/// loudly that it was skipped. Under `CI=true` a skipped test is a failed one.
pub fn require_root(test: &str) -> bool {
    if geteuid().is_root() {
        return true;
    }
    assert!(
        env::var("CI").as_deref() != Ok("true"),
        "{test} needs root, and CI skips nothing"
    );
    #[expect(clippy::print_stderr, reason = "a test's diagnostics are its output")]
    {
        eprintln!("\n*** SKIPPED: {test} needs root (sudo -E) ***\n");
    }
    false
}
