//! Without privileges, interrupted at any moment, looked into: what is said, and that nothing stays.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    process::{Child, ChildStderr, Command},
    time::{Duration, Instant},
};

use flowmon::netlink;
use netns_tests::{command, finish, flowmon, flowmon_binary, require_root, tool};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Folder, Namespace, TestResult, policies, scenarios::crowd};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Network namespaces that a process holds, besides the one it is in, by the kernel's numbers.
fn namespaces(pid: u32) -> io::Result<BTreeSet<String>> {
    let mut held = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One that was closed meanwhile.
        let Ok(target) = fs::read_link(entry?.path()) else {
            continue;
        };
        let target = target.display().to_string();
        if target.starts_with("net:[") {
            held.insert(target);
        }
    }
    Ok(held)
}

/// Those of these that any process still holds, or is in.
fn left(held: &BTreeSet<String>) -> io::Result<BTreeSet<String>> {
    let mut left = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let own = fs::read_link(format!("/proc/{pid}/ns/net"));
        let own = own.map(|it| it.display().to_string());
        let all = namespaces(pid).into_iter().flatten().chain(own);
        left.extend(all.filter(|it| held.contains(it)));
    }
    Ok(left)
}

fn interfaces(host: &Namespace) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let interfaces = host.block_on(netlink::list)??;
    Ok(interfaces.into_iter().map(|it| it.name).collect())
}

/// What it holds as soon as that is so many.
fn when_it_holds(child: &mut Child, count: usize) -> Result<BTreeSet<String>, String> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let held = namespaces(child.id()).unwrap_or_default();
        if held.len() >= count {
            return Ok(held);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("it ended with {status}"));
        }
        std::thread::yield_now();
    }
    Err(format!("it never held {count} namespaces"))
}

fn signal(child: &Child, signal: Signal) -> TestResult {
    Ok(kill(Pid::from_raw(child.id().try_into()?), signal)?)
}

#[test]
fn interrupted_at_any_moment_nothing_stays() -> TestResult {
    if !require_root("interrupted_at_any_moment_nothing_stays") {
        return Ok(());
    }
    let host = Namespace::new("host")?;
    let folder = Folder::new("interrupted")?;
    let file = crowd(&folder)?;
    // Fifty pods, a node, a router: the last is when everybody is there, and probes begin.
    for count in [1, 2, 20, 52] {
        for how in [Signal::SIGINT, Signal::SIGKILL] {
            let mut command = command(flowmon_binary(), &["test", &file]);
            let mut child = host.spawn_command(&mut command)?;
            let held = when_it_holds(&mut child, count)?;
            signal(&child, how)?;
            let ended = child.wait_with_output()?;
            assert_eq!(
                ended.status.code(),
                None,
                "{count}: it had ended before {how}"
            );
            assert_eq!(left(&held)?, BTreeSet::new(), "{count} {how}");
            assert_eq!(interfaces(&host)?, ["lo"]);
        }
    }
    Ok(())
}

#[test]
fn nothing_stays_of_a_scenario_that_fails_or_holds() -> TestResult {
    if !require_root("nothing_stays_of_a_scenario_that_fails_or_holds") {
        return Ok(());
    }
    let host = Namespace::new("host")?;
    let folder = Folder::new("fails")?;
    let file = crowd(&folder)?;
    let broken = fs::read_to_string(&file)?.replace("expect: allowed", "expect: denied");
    let broken = folder.file("broken.scenario.yaml", &broken)?;
    for (file, code) in [(file, 0), (broken, 1)] {
        let mut child = host.spawn_command(&mut command(flowmon_binary(), &["test", &file]))?;
        let held = when_it_holds(&mut child, 10)?;
        let ended = child.wait_with_output()?;
        assert_eq!(ended.status.code(), Some(code));
        assert_eq!(left(&held)?, BTreeSet::new());
        assert_eq!(interfaces(&host)?, ["lo"]);
    }
    Ok(())
}

/// The lines that begin so, until there is one that begins with `last`.
fn told(stderr: &mut ChildStderr, last: &str) -> io::Result<String> {
    let mut told = String::new();
    let mut buffer = [0; 1024];
    while !told.contains(last) {
        let length = io::Read::read(stderr, &mut buffer)?;
        if length == 0 {
            return Err(io::Error::other(told));
        }
        told += &String::from_utf8_lossy(&buffer[..length]);
    }
    Ok(told)
}

#[test]
fn networks_that_are_kept_can_be_entered_and_go_when_told() -> TestResult {
    if !require_root("networks_that_are_kept_can_be_entered_and_go_when_told") {
        return Ok(());
    }
    let host = Namespace::new("host")?;
    let scenario = policies().join("shop.scenario.yaml").display().to_string();
    for how in [Signal::SIGINT, Signal::SIGTERM] {
        let mut command = command(flowmon_binary(), &["test", &scenario, "--keep"]);
        let mut child = host.spawn_command(&mut command)?;
        let mut stderr = child.stderr.take().ok_or("no stderr")?;
        let told = told(&mut stderr, "Ctrl-C")?;
        let held = namespaces(child.id())?;
        for (name, address) in [("shop/cart-0", "10.1.0.5"), ("shop/redis-0", "10.1.0.9")] {
            let line = told.lines().find(|line| line.contains(name));
            let line = line.ok_or_else(|| told.clone())?;
            assert!(line.contains(address), "{line}");
            let (_, enter) = line.split_once("nsenter ").ok_or("no way in")?;
            let seen = tool(&host, "nsenter", &[enter, "cat", "/proc/self/net/dev"]);
            assert!(seen.contains("eth0:"), "{seen}");
        }
        signal(&child, how)?;
        let ended = child.wait_with_output()?;
        assert_eq!(ended.status.code(), Some(0), "{told}");
        assert_eq!(left(&held)?, BTreeSet::new());
    }
    Ok(())
}

#[test]
fn a_shell_is_where_it_was_asked_for() -> TestResult {
    if !require_root("a_shell_is_where_it_was_asked_for") {
        return Ok(());
    }
    let host = Namespace::new("host")?;
    let folder = Folder::new("shell")?;
    let shell = folder.file("shell", "#!/bin/sh\ncat /proc/self/net/fib_trie\n")?;
    fs::set_permissions(&shell, Permissions::from_mode(0o755))?;
    let scenario = policies().join("shop.scenario.yaml").display().to_string();
    let run = |name| {
        let args = ["test", &scenario, "--shell", name];
        finish(&host, command(flowmon_binary(), &args).env("SHELL", &shell))
    };
    let ended = run("shop/redis-0");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("10.1.0.9"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("10.1.0.5"), "{}", ended.stdout);
    let ended = run("shop/nobody");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("shop/cart-0"), "{}", ended.stderr);
    // Of several scenarios nobody could say which.
    let all = policies().display().to_string();
    assert_eq!(flowmon(&host, &["test", &all, "--keep"]).code, Some(2));
    Ok(())
}

#[test]
fn without_privileges_it_says_so() -> TestResult {
    const NOBODY: &[&str] = &["--reuid=65534", "--regid=65534", "--clear-groups"];
    const NO_NETWORKS: &[&str] = &["--bounding-set=-net_admin,-sys_admin"];
    const NO_SYSTEM: &[&str] = &["--bounding-set=-sys_admin"];
    if !require_root("without_privileges_it_says_so") {
        return Ok(());
    }
    let host = Namespace::new("host")?;
    let folder = Folder::new("privileges")?;
    fs::set_permissions(&folder.0, Permissions::from_mode(0o755))?;
    let public = folder.0.join("flowmon");
    fs::copy(flowmon_binary(), &public)?;
    for name in ["own-namespace.yaml", "own-namespace.scenario.yaml"] {
        folder.file(
            name,
            &fs::read_to_string(policies().join("recipes").join(name))?,
        )?;
    }
    let run = |less: &[&str], more: &[&str]| {
        let mut setpriv: Command = command("setpriv", less);
        setpriv
            .arg("--")
            .arg(&public)
            .arg("test")
            .arg(&folder.0)
            .args(more);
        finish(&host, &mut setpriv)
    };
    for less in [NOBODY, NO_NETWORKS, NO_SYSTEM] {
        let ended = run(less, &[]);
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(4), ""),
            "{}",
            ended.stderr
        );
        for part in ["CAP_", "as root", "--static"] {
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
        assert_eq!(run(less, &["--static"]).code, Some(0));
    }
    Ok(())
}
