//! Files of a test's own at places that the whole system knows.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use flowmon::lab::Namespace;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

/// The calling thread's own mounts, with an empty `/run`. What it starts from now on shares them;
/// nobody else sees them, and they go when the last process that has them ends.
#[derive(Debug)]
pub struct PrivateMounts(());

impl PrivateMounts {
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn enter() -> Self {
        let none = None::<&Path>;
        let entered = unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
            .and_then(|()| mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none));
        assert_eq!(entered, Ok(()), "mounts of the test's own");
        let mounts = Self(());
        mounts.share("/run/netns");
        mounts
    }

    /// A BPF file system of the thread's own at `/sys/fs/bpf`, with nothing in it.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn bpffs(&self) -> &'static Path {
        let path = Path::new("/sys/fs/bpf");
        let none = None::<&Path>;
        let mounted = mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), none);
        assert_eq!(mounted, Ok(()), "{}", path.display());
        path
    }

    /// The unified hierarchy at `/sys/fs/cgroup` and no other, as systemd sets it up by default. What
    /// has controllers in others keeps them there.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn only_cgroup_v2(&self) {
        let path = Path::new("/sys/fs/cgroup");
        let none = None::<&Path>;
        let mounted = umount2(path, MntFlags::MNT_DETACH)
            .and_then(|()| mount(none, path, Some("cgroup2"), MsFlags::empty(), none));
        assert_eq!(mounted, Ok(()), "{}", path.display());
    }

    /// An empty folder whose mounts are also those of who makes copies of this thread's mounts: a
    /// runtime mounts its namespaces there.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn share(&self, folder: &str) {
        let made = fs::create_dir_all(folder);
        assert!(made.is_ok(), "{made:?}");
        let none = None::<&Path>;
        let flags = MsFlags::empty();
        let shared = mount(Some("tmpfs"), folder, Some("tmpfs"), flags, none)
            .and_then(|()| mount(none, folder, none, MsFlags::MS_SHARED, none));
        assert_eq!(shared, Ok(()), "{folder}");
    }

    /// Names a namespace, as `ip netns` does.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn name(&self, name: &str, namespace: &Namespace) -> PathBuf {
        let path = Path::new("/run/netns").join(name);
        let made = File::create(&path);
        assert!(made.is_ok(), "{made:?}");
        let none = None::<&Path>;
        let bound = mount(Some(&namespace.path()), &path, none, MsFlags::MS_BIND, none);
        assert_eq!(bound, Ok(()), "naming a namespace {name}");
        path
    }
}
