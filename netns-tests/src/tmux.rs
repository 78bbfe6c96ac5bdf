//! A real terminal, tmux's, with a program in it.
#![expect(clippy::unwrap_used, reason = "a harness fails by panicking")]

use std::{
    env, fs,
    path::PathBuf,
    process,
    time::{Duration, Instant},
};

use flowmon::lab::Namespace;
use nix::unistd::Pid;

use crate::{command, finish};

const PATIENCE: Duration = Duration::from_mins(1);

/// A terminal of 80 columns and 24 rows with a shell command in it.
#[derive(Debug)]
pub struct Tmux<'a> {
    node: &'a Namespace,
    folder: PathBuf,
}

impl<'a> Tmux<'a> {
    /// Runs `line`; when it has ended the screen says with which code, and how the terminal is set.
    pub fn run(node: &'a Namespace, name: &str, line: &str) -> Self {
        let folder = env::temp_dir().join(format!("flowmon-{name}-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let tmux = Self { node, folder };
        let after = "echo \"code $?\"; stty -a | tr ';' '\\n' | grep -E 'icanon|isig' | tr '\\n' ' '; \
                     echo over; cat";
        let line = format!("{line}; {after}");
        tmux.tmux(&["new-session", "-d", "-x", "80", "-y", "24", &line]);
        tmux
    }

    /// What tmux itself is asked.
    pub fn tmux(&self, args: &[&str]) -> String {
        let socket = self.folder.join("tmux").display().to_string();
        let all = [&["-u", "-S", &socket, "-f", "/dev/null"], args].concat();
        let mut command = command("tmux", &all);
        command.env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        let finished = finish(self.node, &mut command);
        assert_eq!(finished.code, Some(0), "{all:?}: {}", finished.stderr);
        finished.stdout
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Presses keys, by tmux's names.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits until the screen is as it should be, and returns it.
    pub fn wait(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
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

    /// Waits until the screen has this text, and returns it.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// The program in it.
    pub fn program(&self) -> Pid {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
        Pid::from_raw(children.unwrap().trim().parse().unwrap())
    }

    /// The ordinary screen is back, with a cursor, line editing and keys that send signals.
    pub fn assert_restored(&self, code: i32) -> String {
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
