//! A network namespace of this process's own.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{self, Child, Command};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};
use tokio::runtime;

use super::Error;
use crate::netlink::Configure;

/// The loopback interface is the first of its namespace (`net/core/dev.c`).
const LOOPBACK: u32 = 1;

/// An anonymous network namespace, with its loopback up.
///
/// It lives as long as this value, a socket made in it, or a process or thread running in it, and
/// has no name in the file system: a killed process leaves nothing behind.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// Makes a namespace, which needs root. The name is for messages only.
    pub fn new(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        let create = || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        };
        let namespace = match in_new_thread(create).flatten() {
            Ok(file) => Self { name, file },
            Err(source) => return Err(Error::Create { name, source }),
        };
        namespace.block_on(async || Configure::open()?.set_up(LOOPBACK).await)??;
        Ok(namespace)
    }

    /// The name given to [`Self::new`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path that others may enter the namespace by, as in `nsenter --net=PATH`. It is valid
    /// until this value is dropped.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            process::id(),
            self.file.as_raw_fd()
        ))
    }

    /// The namespace as the kernel wants it named in a request.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Moves the calling thread into the namespace, for good. What runs in other threads, or was
    /// opened before, stays where it was.
    pub fn enter(&self) -> Result<(), Error> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| self.failed(errno.into()))
    }

    /// Runs `f` in the namespace, in a thread of its own, and waits for it to end. Any number of
    /// these may run at the same time. A panic in `f` is passed on.
    ///
    /// A socket belongs to the namespace it was made in, so what `f` returns can be used anywhere.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, Error> {
        in_new_thread(|| self.enter().map(|()| f())).map_err(|source| self.failed(source))?
    }

    /// Runs a future in the namespace, as [`Self::run`] does, on a tokio runtime of its own.
    pub fn block_on<T: Send>(&self, f: impl AsyncFnOnce() -> T + Send) -> Result<T, Error> {
        let runtime = || runtime::Builder::new_current_thread().enable_all().build();
        self.run(|| runtime().map(|runtime| runtime.block_on(f())))?
            .map_err(|source| self.failed(source))
    }

    /// Starts a thread in the namespace: a thread begins where the one that starts it is.
    pub fn spawn<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, Error> {
        self.run(|| thread::Builder::new().spawn(f))?
            .map_err(|source| self.failed(source))
    }

    /// Starts a command in the namespace: so does a process.
    pub fn spawn_command(&self, command: &mut Command) -> Result<Child, Error> {
        self.run(|| command.spawn())?
            .map_err(|source| self.failed(source))
    }

    /// Writes a network setting, given by its path below `/proc/sys`, as in
    /// `net/ipv6/conf/default/accept_ra`. What `/proc/sys/net` shows depends on the thread that
    /// opens it (`net_ctl_header_lookup` in `net/sysctl_net.c`).
    pub fn set_sysctl(&self, path: &str, value: &str) -> Result<(), Error> {
        let path = format!("/proc/sys/{path}");
        self.run(|| fs::write(&path, value))?
            .map_err(|source| Error::Sysctl {
                path,
                value: value.into(),
                source,
            })
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Enter {
            name: self.name.clone(),
            source,
        }
    }
}

fn in_new_thread<T: Send>(f: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, f)?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
