//! Files of a test's own at places that the whole system knows.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use flowmon::lab::Namespace;
use nix::{
    mount::{MsFlags, mount},
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
        let made = fs::create_dir("/run/netns");
        assert!(made.is_ok(), "{made:?}");
        Self(())
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
