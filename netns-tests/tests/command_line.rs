//! What is typed, what comes out, and the exit code.

use std::error::Error;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{self, Command};
use std::time::{Duration, Instant};

use flowmon::lab::{Namespace, traffic};
use netns_tests::{Finished, Said, Watch, command, finish, flowmon, flowmon_binary, require_root};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

/// The one message on standard error, without its level.
fn message(finished: &Finished) -> Result<&str, String> {
    match finished.stderr.lines().collect::<Vec<_>>().as_slice() {
        [line] => Ok(line.trim_start_matches("ERROR ")),
        lines => Err(format!("not one line: {lines:#?}")),
    }
}

fn summary(finished: &Finished) -> Value {
    let lines: Vec<String> = finished.stdout.lines().map(str::to_owned).collect();
    Said::parse(&lines).summary
}

#[test]
fn wrong_usage_is_told_in_a_sentence() -> TestResult {
    if !require_root("wrong_usage_is_told_in_a_sentence") {
        return Ok(());
    }
    let node = Namespace::new("node")?;
    let missing = flowmon(&node, &["watch", "--iface", "cni7"]);
    assert_eq!(missing.code, Some(2));
    assert_eq!(
        message(&missing)?,
        "no interface is called cni7; `flowmon interfaces` lists those there are, and \
         `--iface 'veth*'` waits for some to come"
    );
    for (args, named) in [
        (&["watch"][..], "--iface"),
        (&["watch", "--iface", "lo", "--duration", "soon"], "'soon'"),
        (&["watch", "--iface", "lo", "--interval", "0s"], "'0s'"),
        (&["watch", "--iface", "veth["], "'veth['"),
        (&["watch", "--iface", ""], "''"),
        (&["watch", "--iface", "lo", "--output", "xml"], "'xml'"),
        (&["watch", "--iface", "lo", "--max-flows", "1"], "'1'"),
        (&["watch", "--iface", "lo", "--colour"], "'--colour'"),
        (&["observe"], "'observe'"),
        (&[], "Usage"),
    ] {
        let finished = flowmon(&node, args);
        assert_eq!(finished.code, Some(2), "{args:?}");
        assert!(
            finished.stderr.contains(named),
            "{args:?}: {}",
            finished.stderr
        );
        assert_eq!(finished.stdout, "", "{args:?}");
    }
    for args in [["--help"], ["--version"]] {
        let finished = flowmon(&node, &args);
        assert_eq!(
            (finished.code, finished.stderr.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
    Ok(())
}

/// A flowmon that anybody may start; removed when dropped.
struct Public(PathBuf);

impl Public {
    fn new() -> Result<Self, std::io::Error> {
        let folder = std::env::temp_dir().join(format!("flowmon-{}", process::id()));
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        fs::copy(flowmon_binary(), folder.join("flowmon"))?;
        Ok(Self(folder))
    }

    /// `flowmon ARGS…`, with less than root's privileges.
    fn run(&self, node: &Namespace, less: &[&str], args: &[&str]) -> Finished {
        let mut setpriv: Command = command("setpriv", less);
        setpriv.arg("--").arg(self.0.join("flowmon")).args(args);
        finish(node, &mut setpriv)
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        // What is left in the folder for temporary files is not worth a panic.
        let _left = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn missing_privileges_are_named() -> TestResult {
    const NOBODY: &[&str] = &["--reuid=65534", "--regid=65534", "--clear-groups"];
    // To the kernel's BPF, CAP_SYS_ADMIN stands for the other.
    const NO_NET_ADMIN: &[&str] = &["--bounding-set=-net_admin,-sys_admin"];
    if !require_root("missing_privileges_are_named") {
        return Ok(());
    }
    let node = Namespace::new("node")?;
    let public = Public::new()?;
    for (less, missing) in [
        (NOBODY, "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"),
        (NO_NET_ADMIN, "CAP_NET_ADMIN"),
    ] {
        let watch = public.run(&node, less, &["watch", "--iface", "lo", "--duration", "1s"]);
        assert_eq!(watch.code, Some(4), "{}", watch.stderr);
        assert_eq!(watch.stdout, "");
        let said = message(&watch)?;
        assert!(
            said.contains(&format!("flowmon needs {missing}; run it as root")),
            "{said}"
        );

        let doctor = public.run(&node, less, &["doctor"]);
        assert_eq!(doctor.code, Some(4), "{}", doctor.stdout);
        let lacking: Vec<_> = doctor
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("missing   CAP_"))
            .filter_map(|rest| rest.split(' ').next())
            .collect();
        let wanted: Vec<_> = missing
            .split(", ")
            .filter_map(|name| name.strip_prefix("CAP_"))
            .collect();
        assert_eq!(lacking, wanted, "{}", doctor.stdout);
    }
    // Looking is free.
    let interfaces = public.run(&node, NOBODY, &["interfaces", "--output", "json"]);
    assert_eq!((interfaces.code, interfaces.stderr.as_str()), (Some(0), ""));
    assert!(interfaces.stdout.contains("\"lo\""));

    let doctor = flowmon(&node, &["doctor"]);
    assert_eq!(doctor.code, Some(0), "{}", doctor.stdout);
    assert!(
        doctor
            .stdout
            .lines()
            .all(|line| !line.starts_with("missing"))
    );
    for tried in [
        "count a frame",
        "announce a flow",
        "read all flows",
        "attach by XDP",
    ] {
        let works = |line: &str| line.starts_with("ok ") && line.contains(tried);
        assert!(doctor.stdout.lines().any(works), "{}", doctor.stdout);
    }
    assert!(doctor.stdout.ends_with("flowmon can watch here.\n"));
    Ok(())
}

#[test]
fn it_ends_when_told_and_says_what_it_saw() -> TestResult {
    if !require_root("it_ends_when_told_and_says_what_it_saw") {
        return Ok(());
    }
    let node = Namespace::new("node")?;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let watch = Watch::start(&node, &["--iface", "lo"]);
        traffic::ping(&node, "127.0.0.1".parse()?, 1, 1, 0)?;
        watch.signal(signal);
        let ended = watch.ended();
        ended.assert_clean();
        assert_eq!(ended.said.sum("totals").tx.packets, 2, "{signal}");
    }
    let begin = Instant::now();
    let finished = flowmon(&node, &["watch", "--iface", "lo", "--duration", "1s"]);
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(finished.code, Some(0));
    assert_eq!(message(&finished)?, " INFO watching lo");
    assert_eq!(summary(&finished).pointer("/complete"), Some(&json!(true)));

    // Every option has a variable, too.
    let mut command = command(flowmon_binary(), &["watch"]);
    command
        .env("FLOWMON_IFACE", "lo")
        .env("FLOWMON_DURATION", "50ms");
    let finished = finish(&node, &mut command);
    assert_eq!(finished.code, Some(0));
    assert_eq!(summary(&finished).pointer("/interfaces"), Some(&json!(1)));
    Ok(())
}
