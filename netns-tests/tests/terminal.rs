//! The live view in a real terminal, tmux's: what is to be seen, what keys do, and that the terminal is
//! as it was afterwards, however the watch ended.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::{
    env,
    error::Error,
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};

use flowmon::{
    clock::Clock,
    lab::{Lab, Namespace, Pod, traffic},
    sinks::{Sink as _, Terminal, Writer},
};
use netns_tests::{Tmux, command, finish, flowmon_binary, require_programs};
use nix::sys::signal::{Signal, kill};

type TestResult = Result<(), Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_mins(1);
/// Names the file that tells a child of this test to panic.
const PANIC: &str = "FLOWMON_TEST_PANIC";

/// A bridge with a client and a server.
fn lab() -> Result<(Lab, Pod, Pod), Box<dyn Error>> {
    let lab = Lab::new("cni0")?;
    let client = lab.add_pod("client", &lab.host(10))?;
    let server = lab.add_pod("server", &lab.host(11))?;
    Ok((lab, client, server))
}

fn watch(more: &str) -> String {
    format!(
        "{} watch --iface cni0 --interval 300ms {more}",
        flowmon_binary().display()
    )
}

#[test]
fn keys_do_what_they_say() -> TestResult {
    if !require_programs("keys_do_what_they_say", &["tmux", "stty"]) {
        return Ok(());
    }
    let (lab, client, server) = lab()?;
    let tmux = Tmux::run(lab.node(), "keys", &watch(""));
    tmux.wait_for("2 interfaces");
    let address = server.ipv4().unwrap();
    for port in [6379, 8080] {
        let to = (address, port).into();
        traffic::tcp_transfer(&client.namespace, &server.namespace, to, 2_000_000, 64)?;
    }
    let screen = tmux.wait("both talks", |screen| {
        screen.contains("tcp/6379") && screen.contains("tcp/8080")
    });
    // Who, the peer's address, and the head.
    let row = |port: &str| {
        screen
            .lines()
            .find(|line| line.contains(port) && line.contains('→'))
    };
    let end = client.interface.get(client.interface.len() - 6..).unwrap();
    assert!(row("tcp/6379").unwrap().contains(end), "{screen}");
    assert!(row("tcp/6379").unwrap().contains("10.77.0.11"), "{screen}");
    assert!(screen.contains("100 % of "), "{screen}");
    assert!(screen.contains(" 0 in none  0 lost"), "{screen}");
    assert!(
        screen.contains("No policies: nothing is judged"),
        "{screen}"
    );

    tmux.press(&["?"]);
    tmux.wait_for("filter as you type");
    tmux.press(&["?"]);
    tmux.press(&["/", "8080"]);
    tmux.wait("only one", |screen| {
        screen.contains("tcp/8080") && !screen.contains("tcp/6379")
    });
    tmux.press(&["Escape"]);
    tmux.wait_for("tcp/6379");
    tmux.press(&["/", "6379", "Enter"]);
    tmux.wait_for("with \"6379\"");
    tmux.press(&["Down", "Enter"]);
    tmux.wait_for("round trips");
    tmux.press(&["Down", "Enter"]);
    tmux.wait_for("zero windows");
    tmux.press(&["Space"]);
    tmux.wait_for("PAUSED");
    // Other sizes, too.
    tmux.tmux(&["resize-window", "-x", "40", "-y", "10"]);
    tmux.wait_for("flowmon needs 60 x 12");
    tmux.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    tmux.wait_for("zero windows");

    tmux.press(&["q"]);
    let screen = tmux.assert_restored(0);
    assert!(screen.contains("in no flow"), "{screen}");
    assert!(screen.contains("complete"), "{screen}");
    lab.remove_pod(client)?;
    lab.remove_pod(server)?;
    Ok(())
}

#[test]
fn whatever_ends_it_the_terminal_is_restored() -> TestResult {
    if !require_programs(
        "whatever_ends_it_the_terminal_is_restored",
        &["tmux", "stty"],
    ) {
        return Ok(());
    }
    let (lab, _client, _server) = lab()?;
    for (name, end) in [
        ("term", Some(Signal::SIGTERM)),
        ("c", None),
        ("int", Some(Signal::SIGINT)),
    ] {
        let tmux = Tmux::run(lab.node(), name, &watch("-v"));
        tmux.wait_for("2 interfaces");
        match end {
            Some(signal) => kill(tmux.program(), signal)?,
            None => tmux.press(&["C-c"]),
        }
        let screen = tmux.assert_restored(0);
        assert!(screen.contains("complete"), "{screen}");
    }
    // By itself, and with NO_COLOR.
    let tmux = Tmux::run(
        lab.node(),
        "duration",
        &format!("NO_COLOR=1 {}", watch("--duration 2s")),
    );
    tmux.wait_for("2 interfaces");
    let coloured = tmux.tmux(&["capture-pane", "-p", "-e"]);
    assert!(
        !coloured.contains("\x1b[31") && !coloured.contains("\x1b[33"),
        "{coloured}"
    );
    tmux.assert_restored(0);
    Ok(())
}

#[test]
fn when_the_terminal_goes_it_ends() -> TestResult {
    if !require_programs("when_the_terminal_goes_it_ends", &["tmux", "stty"]) {
        return Ok(());
    }
    let (lab, _client, _server) = lab()?;
    let tmux = Tmux::run(lab.node(), "hangup", &watch(""));
    tmux.wait_for("2 interfaces");
    let program = format!("/proc/{}/exe", tmux.program());
    assert!(fs::read_link(&program).is_ok());
    tmux.tmux(&["kill-server"]);
    let deadline = Instant::now() + PATIENCE;
    // What is not yet waited for has no program either.
    while fs::read_link(&program).is_ok() {
        assert!(Instant::now() < deadline, "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn a_panic_is_told_on_the_terminal_as_it_was() -> TestResult {
    if let Some(signal) = env::var_os(PANIC).map(PathBuf::from) {
        panic_in_the_view(&signal);
    }
    if !require_programs(
        "a_panic_is_told_on_the_terminal_as_it_was",
        &["tmux", "stty"],
    ) {
        return Ok(());
    }
    let node = Namespace::new("node")?;
    let signal = env::temp_dir().join(format!("flowmon-panics-{}", process::id()));
    let line = format!(
        "RUST_BACKTRACE=0 {PANIC}={} {} --exact a_panic_is_told_on_the_terminal_as_it_was --nocapture",
        signal.display(),
        env::current_exe()?.display()
    );
    let tmux = Tmux::run(&node, "panic", &line);
    tmux.wait_for("0 interfaces");
    fs::write(&signal, "")?;
    let screen = tmux.assert_restored(101);
    assert!(screen.contains("on purpose"), "{screen}");
    fs::remove_file(signal)?;
    Ok(())
}

fn panic_in_the_view(signal: &Path) -> ! {
    let stdout = io::stdout().as_fd().try_clone_to_owned().unwrap();
    let (writer, _ended) = Writer::new(stdout);
    let (mut terminal, _early) = Terminal::new(Clock::new().now(), writer);
    terminal.flush();
    while !signal.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("on purpose");
}

#[test]
fn without_a_terminal_there_is_no_view() -> TestResult {
    if !require_programs("without_a_terminal_there_is_no_view", &[]) {
        return Ok(());
    }
    let node = Namespace::new("node")?;
    let mut command = command(
        flowmon_binary(),
        &["watch", "--iface", "lo", "--output", "tui"],
    );
    let finished = finish(&node, &mut command);
    assert_eq!(finished.code, Some(2));
    assert!(
        finished.stderr.contains("needs a terminal"),
        "{}",
        finished.stderr
    );
    Ok(())
}
