//! A real flowmon, as a child process in a namespace.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use flowmon::lab::Namespace;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::Said;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `flowmon watch --output json`. Killed when dropped.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    said: Vec<String>,
    complained: Vec<String>,
    readers: Vec<JoinHandle<()>>,
}

/// How a flowmon ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output: records and summary.
    pub said: Said,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Holds a run to its promises: it ended well, had nothing to complain about, and no packet is
    /// missing.
    ///
    /// # Panics
    ///
    /// When it broke one.
    pub fn assert_clean(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        let complaint = self
            .stderr
            .lines()
            .find(|line| line.starts_with("ERROR") || line.trim_start().starts_with("WARN"));
        assert_eq!(complaint, None);
        self.said.assert_complete();
    }
}

/// The binary of this build: next to the directory that the test itself is in.
///
/// # Panics
///
/// When there is none.
pub fn flowmon_binary() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let binary = test
        .ancestors()
        .nth(2)
        .map(|profile| profile.join("flowmon"))
        .unwrap_or_default();
    assert!(
        binary.exists(),
        "{} is not there: `cargo build -p flowmon` makes it",
        binary.display()
    );
    binary
}

impl Watch {
    /// Starts `flowmon watch --output json ARGS…` in `namespace` and waits until it watches.
    ///
    /// # Panics
    ///
    /// When it ends instead, with what it said.
    pub fn start(namespace: &Namespace, args: &[&str]) -> Self {
        Self::start_with(namespace, &[], args)
    }

    /// As [`Self::start`], with these variables in its environment.
    ///
    /// # Panics
    ///
    /// When it ends instead, with what it said.
    pub fn start_with(namespace: &Namespace, environment: &[(&str, &str)], args: &[&str]) -> Self {
        let mut command = Command::new(flowmon_binary());
        command.envs(environment.iter().copied());
        let words = ["watch", "--output", "json"];
        let mut watch = Self::spawn_program(command, namespace, &words, args, Stdio::piped());
        watch.wait_for_stderr("watching");
        watch
    }

    /// As [`Self::start`], without waiting.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub fn spawn(namespace: &Namespace, args: &[&str]) -> Self {
        let words = ["watch", "--output", "json"];
        Self::spawn_command(namespace, &words, args, Stdio::piped())
    }

    /// Starts `flowmon run ARGS…`, the daemon, in `namespace`, without waiting.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub fn daemon(namespace: &Namespace, args: &[&str]) -> Self {
        Self::spawn_command(namespace, &["run"], args, Stdio::piped())
    }

    /// The same, with this for standard output.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub fn daemon_to(namespace: &Namespace, args: &[&str], stdout: impl Into<Stdio>) -> Self {
        Self::spawn_command(namespace, &["run"], args, stdout.into())
    }

    fn spawn_command(namespace: &Namespace, words: &[&str], args: &[&str], stdout: Stdio) -> Self {
        let command = Command::new(flowmon_binary());
        Self::spawn_program(command, namespace, words, args, stdout)
    }

    fn spawn_program(
        mut command: Command,
        namespace: &Namespace,
        words: &[&str],
        args: &[&str],
        stdout: Stdio,
    ) -> Self {
        command
            .arg("-v")
            .args(words)
            .args(args)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped());
        let child = namespace.spawn_command(&mut command);
        Self::of(child.unwrap_or_else(|error| panic!("starting flowmon: {error}")))
    }

    fn of(mut child: Child) -> Self {
        let (stdout, stdout_reader) = lines(child.stdout.take());
        let (stderr, stderr_reader) = lines(child.stderr.take());
        Self {
            child,
            stdout,
            stderr,
            said: Vec::new(),
            complained: Vec::new(),
            readers: vec![stdout_reader, stderr_reader],
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of standard error that contains `words`, and returns it.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub fn wait_for_stderr(&mut self, words: &str) -> String {
        wait_for(&self.stderr, &mut self.complained, |line| {
            line.contains(words)
        })
        .unwrap_or_else(|| panic!("no {words:?} on stderr, but: {:#?}", self.complained))
    }

    /// Waits for a record or summary that `is` accepts, and returns it.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub fn wait_for_record(
        &mut self,
        is: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
        wait_for(&self.stdout, &mut self.said, |line| {
            parse(line).is_some_and(|value| is(&value))
        })
        .and_then(|line| parse(&line))
        .unwrap_or_else(|| {
            self.complained.extend(self.stderr.try_iter());
            let last: Vec<_> = self.said.iter().rev().take(50).rev().collect();
            panic!(
                "no such record, the last ones are {last:#?}; stderr: {:#?}",
                self.complained
            )
        })
    }

    /// Sends a signal.
    ///
    /// # Panics
    ///
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap_or(i32::MAX));
        assert_eq!(kill(pid, signal), Ok(()), "signalling flowmon");
    }

    /// Asks it to stop (SIGTERM) and waits for its last word.
    pub fn stop(self) -> Ended {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Kills it (SIGKILL), and returns what it said until then: whole lines, but for the last one, of
    /// which a reader that is too slow may have got a part.
    ///
    /// # Panics
    ///
    /// When another line is not whole, or it had ended before.
    pub fn kill(mut self) -> Said {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.wait(), None, "{:#?}", self.complained);
        let is_whole = |line: &String| serde_json::from_str::<serde_json::Value>(line).is_ok();
        self.said.pop_if(|last| !is_whole(last));
        Said::parse(&self.said)
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn ended(mut self) -> Ended {
        Ended {
            code: self.wait(),
            said: Said::parse(&self.said),
            stderr: self.complained.join("\n"),
        }
    }

    /// To its end, and returns its exit code.
    fn wait(&mut self) -> Option<i32> {
        for reader in self.readers.drain(..) {
            let deadline = Instant::now() + PATIENCE;
            while !reader.is_finished() {
                assert!(Instant::now() < deadline, "flowmon does not end");
                self.said
                    .extend(self.stdout.recv_timeout(Duration::from_millis(50)));
            }
        }
        self.said.extend(self.stdout.try_iter());
        self.complained.extend(self.stderr.try_iter());
        self.child.wait().ok()?.code()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn lines(
    source: Option<impl std::io::Read + Send + 'static>,
) -> (Receiver<String>, JoinHandle<()>) {
    let (send, receive) = channel();
    let reader = std::thread::spawn(move || {
        let lines = source
            .into_iter()
            .flat_map(|source| BufReader::new(source).lines());
        for line in lines.map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    (receive, reader)
}

fn wait_for(
    lines: &Receiver<String>,
    seen: &mut Vec<String>,
    is: impl Fn(&str) -> bool,
) -> Option<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                seen.push(line.clone());
                if is(&line) {
                    return Some(line);
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
}
