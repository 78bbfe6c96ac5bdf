//! Being told that something changed in folders.

use std::{io, os::fd::AsFd as _, path::Path};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe;

/// Changes in folders: an inotify descriptor is read as a pipe is.
#[derive(Debug)]
pub struct FileWatch(pipe::Receiver);

impl FileWatch {
    /// Watches what is written, put, renamed and removed in folders, not below them. To have looked at
    /// them after this is to have missed nothing.
    ///
    /// # Errors
    ///
    /// Where one of them is none, or the kernel gives no more watches (`fs.inotify.max_user_watches`).
    pub fn of(folders: impl IntoIterator<Item = impl AsRef<Path>>) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE // links: nothing is written to these
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        for folder in folders {
            inotify.add_watch(folder.as_ref(), flags)?;
        }
        let descriptor = inotify.as_fd().try_clone_to_owned()?;
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(descriptor)?))
    }

    /// Waits for changes, and forgets them: who is told looks at all of it.
    ///
    /// # Errors
    ///
    /// When the runtime can't wait.
    pub async fn changed(&self) -> io::Result<()> {
        self.0.readable().await?;
        while self.0.try_read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
        Ok(())
    }
}
