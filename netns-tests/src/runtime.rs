//! Container runtimes, each on a "node" of its own: a network namespace, mounts of the test's own,
//! and a process namespace with which everything that the runtime started ends.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use flowmon::lab::Namespace;

use crate::{Finished, PrivateMounts, command, finish};

/// Longer than any runtime takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Programs that busybox is in the image.
const APPLETS: [&str; 7] = ["sh", "sleep", "httpd", "wget", "nc", "ping", "true"];

/// A host for containers.
#[derive(Debug)]
pub struct Node {
    /// Its network.
    pub namespace: Namespace,
    /// Its mounts.
    pub mounts: PrivateMounts,
    /// A folder that goes with it.
    pub folder: PathBuf,
}

impl Node {
    /// A host for the runtime that is called so. The calling thread has its mounts from now on.
    ///
    /// # Panics
    ///
    /// When it can't be made.
    pub fn new(name: &str) -> Self {
        let mounts = PrivateMounts::enter();
        let folder = std::env::temp_dir().join(format!("flowmon-{name}-{}", std::process::id()));
        let made = fs::create_dir_all(&folder);
        assert!(made.is_ok(), "{}: {made:?}", folder.display());
        let namespace = Namespace::new("node").unwrap_or_else(|error| panic!("{error}"));
        Self {
            namespace,
            mounts,
            folder,
        }
    }

    /// The control group that whatever runs on the node is to be in: it goes with the node.
    pub fn cgroup(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        format!("/{}", name.to_string_lossy())
    }

    /// Runs a program to its end on the node.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub fn run(&self, program: &str, args: &[&str]) -> Finished {
        finish(&self.namespace, &mut command(program, args))
    }

    /// As [`Self::run`], and returns what the program said.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub fn tool(&self, program: &str, args: &[&str]) -> String {
        crate::tool(&self.namespace, program, args)
            .trim()
            .to_owned()
    }

    /// Starts a daemon in a process namespace of its own and waits until `is_ready`.
    ///
    /// # Panics
    ///
    /// When it does not get ready, with the end of what it said.
    pub fn start(&self, daemon: &mut Command, is_ready: impl Fn() -> bool) -> Runtime {
        let log = self.folder.join("log");
        let file = || File::create(&log).map_or_else(|_| Stdio::null(), Stdio::from);
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "unchanged"])
            .arg(daemon.get_program())
            .args(daemon.get_args())
            .envs(
                daemon
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file());
        let child = self.namespace.spawn_command(&mut command);
        let mut runtime = Runtime(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let deadline = Instant::now() + PATIENCE;
        while !is_ready() {
            let ended = runtime.0.try_wait();
            let is_running = matches!(ended, Ok(None));
            assert!(
                is_running && Instant::now() < deadline,
                "{daemon:?} is not ready: {}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        runtime
    }

    /// The root of a file system with busybox in it, as a tar file.
    ///
    /// # Panics
    ///
    /// When it can't be written.
    pub fn image(&self) -> PathBuf {
        let root = self.folder.join("image");
        let bin = root.join("bin");
        let made = (|| {
            for folder in ["bin", "www", "tmp", "etc"] {
                fs::create_dir_all(root.join(folder))?;
            }
            fs::copy(busybox(), bin.join("busybox"))?;
            for applet in APPLETS {
                symlink("busybox", bin.join(applet))?;
            }
            File::create(root.join("www/index.html"))?.write_all(b"hello\n")
        })();
        assert!(made.is_ok(), "{made:?}");
        let tar = self.folder.join("image.tar");
        let (root, file) = (root.to_string_lossy(), tar.to_string_lossy());
        self.tool("tar", &["-C", &root, "-cf", &file, "."]);
        tar
    }
}

impl Node {
    /// As [`Self::image`], in the form that `docker save` writes, called `name`; it sleeps unless it
    /// is told something else.
    ///
    /// # Panics
    ///
    /// When it can't be written.
    pub fn archive(&self, name: &str) -> PathBuf {
        let layer = self.image();
        let digest = |path: &Path| {
            let said = self.tool("sha256sum", &[&path.to_string_lossy()]);
            said.split(' ').next().unwrap_or_default().to_owned()
        };
        let write = |file: &str, text: &serde_json::Value| {
            let written = fs::write(self.folder.join(file), text.to_string());
            assert!(written.is_ok(), "{written:?}");
        };
        write(
            "config.json",
            &serde_json::json!({
                "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
                "os": "linux", "created": "1970-01-01T00:00:00Z",
                "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "1000000"]},
                "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))]},
                "history": [{"created": "1970-01-01T00:00:00Z"}],
            }),
        );
        let config = format!("{}.json", digest(&self.folder.join("config.json")));
        let renamed = fs::rename(self.folder.join("config.json"), self.folder.join(&config));
        assert!(renamed.is_ok(), "{renamed:?}");
        write(
            "manifest.json",
            &serde_json::json!([{"Config": config, "RepoTags": [name], "Layers": ["image.tar"]}]),
        );
        let archive = self.folder.join("archive.tar");
        let (folder, file) = (self.folder.to_string_lossy(), archive.to_string_lossy());
        let files = [&config, "manifest.json", "image.tar"];
        self.tool(
            "tar",
            &[&["-C", &folder, "-cf", &file], &files[..]].concat(),
        );
        archive
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
        let all = hierarchies.flatten().map(|hierarchy| hierarchy.path());
        for hierarchy in all.chain([PathBuf::from("/sys/fs/cgroup")]) {
            let group = hierarchy.join(self.cgroup().trim_start_matches('/'));
            let deadline = Instant::now() + Duration::from_secs(5);
            // What was killed may not have ended yet.
            while group.exists() && !remove(&group) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        // Whatever is left of it is in the system's folder for such things.
        let _left = fs::remove_dir_all(&self.folder);
    }
}

/// Removes a control group with all that are in it.
fn remove(group: &Path) -> bool {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let groups = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    for inner in groups {
        remove(&inner);
    }
    fs::remove_dir(group).is_ok()
}

/// A daemon. Killed when dropped, and all that it started.
#[derive(Debug)]
pub struct Runtime(Child);

impl Runtime {
    /// The daemon's process: the first of its process namespace.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn pid(&self) -> u32 {
        let parent = self.0.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let children = children.unwrap_or_default();
        let first = children.split_whitespace().next();
        let pid = first.and_then(|pid| pid.parse().ok());
        pid.unwrap_or_else(|| panic!("{parent} has no child"))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn busybox() -> &'static Path {
    let path = Path::new("/bin/busybox");
    if path.exists() {
        path
    } else {
        Path::new("/usr/bin/busybox")
    }
}
