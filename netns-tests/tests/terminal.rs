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
use netns_tests::{command, finish, flowmon_binary, require_programs};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

type TestResult = Result<(), Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_mins(1);
/// Names the file that tells a child of this test to panic.
const PANIC: &str = "FLOWMON_TEST_PANIC";

/// A terminal of 80 columns and 24 rows with a shell command in it.
struct Tmux<'a> {
    node: &'a Namespace,
    folder: PathBuf,
}

impl<'a> Tmux<'a> {
    /// Runs `line`; when it has ended the screen says with which code, and how the terminal is set.
    fn run(node: &'a Namespace, name: &str, line: &str) -> Self {
        let folder = env::temp_dir().join(format!("flowmon-{name}-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let tmux = Self { node, folder };
        let after = "echo \"code $?\"; stty -a | tr ';' '\\n' | grep -E 'icanon|isig' | tr '\\n' ' '; \
                     echo over; cat";
        let line = format!("{line}; {after}");
        tmux.tmux(&["new-session", "-d", "-x", "80", "-y", "24", &line]);
        tmux
    }

    fn tmux(&self, args: &[&str]) -> String {
        let socket = self.folder.join("tmux").display().to_string();
        let all = [&["-u", "-S", &socket, "-f", "/dev/null"], args].concat();
        let mut command = command("tmux", &all);
        command.env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        let finished = finish(self.node, &mut command);
        assert_eq!(finished.code, Some(0), "{all:?}: {}", finished.stderr);
        finished.stdout
    }

    /// What is on the screen.
    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits until the screen is as it should be, and returns it.
    fn wait(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what}:\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_for(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// The program in it.
    fn program(&self) -> Pid {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
        Pid::from_raw(children.unwrap().trim().parse().unwrap())
    }

    /// The ordinary screen is back, with a cursor, line editing and keys that send signals.
    fn assert_restored(&self, code: i32) -> String {
        let screen = self.wait_for("over");
        let state = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(state.trim(), "0 1", "{screen}");
        assert!(screen.contains(&format!("code {code}")), "{screen}");
        assert!(
            screen.contains("isig") && screen.contains("icanon"),
            "{screen}"
        );
        assert!(
            !screen.contains("-isig") && !screen.contains("-icanon"),
            "{screen}"
        );
        screen
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let socket = self.folder.join("tmux").display().to_string();
        let mut kill = command("tmux", &["-S", &socket, "kill-server"]);
        let _gone = finish(self.node, &mut kill);
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

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
