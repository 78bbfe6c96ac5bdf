//! Writes on a thread of its own, so that a slow reader slows nobody else.

use std::{
    io::{self, Write},
    os::fd::{AsFd as _, OwnedFd},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::oneshot;

/// How the writing ended.
#[derive(Debug)]
pub enum WriterEnd {
    /// Everything taken was written.
    Written,
    /// The reader went away, as `head` does: no error.
    ReaderGone,
    /// Writing failed.
    Failed(io::Error),
}

/// A bounded queue of texts in front of a file or pipe.
#[derive(Debug)]
pub struct Writer {
    queue: SyncSender<String>,
    thread: JoinHandle<WriterEnd>,
    lost: u64,
}

/// Texts that may wait. With records of half a kilobyte: 16 MB.
const QUEUE: usize = 32_768;
/// How often a reader's going is looked for while there is nothing to write.
const IDLE: Duration = Duration::from_millis(200);

impl Writer {
    /// Writes to `target`. The receiver hears of it when writing ends before [`Self::finish`].
    pub fn new(target: OwnedFd) -> (Self, oneshot::Receiver<()>) {
        let (queue, texts) = sync_channel(QUEUE);
        let (ended, early) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let end = write_all(&texts, target);
            // Nobody waits for it when the run is over.
            let _unheard = ended.send(());
            end
        });
        let writer = Self {
            queue,
            thread,
            lost: 0,
        };
        (writer, early)
    }

    /// Takes a text. Whole or not at all: when the queue is full it is lost, and counted.
    pub fn write(&mut self, text: String) {
        match self.queue.try_send(text) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.lost += 1,
        }
    }

    /// Takes a text that must not be lost, waiting for room.
    pub fn write_last(&mut self, text: String) {
        if self.queue.send(text).is_err() {
            self.lost += 1;
        }
    }

    /// Texts lost so far.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Waits until all is written.
    pub fn finish(self) -> WriterEnd {
        drop(self.queue);
        self.thread
            .join()
            .unwrap_or_else(|_| WriterEnd::Failed(io::Error::other("the writer died")))
    }
}

fn write_all(texts: &Receiver<String>, target: OwnedFd) -> WriterEnd {
    let mut file = std::fs::File::from(target);
    let mut batch = String::new();
    loop {
        match texts.recv_timeout(IDLE) {
            Ok(text) => batch.push_str(&text),
            Err(RecvTimeoutError::Timeout) if reader_gone(&file) => return WriterEnd::ReaderGone,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return WriterEnd::Written,
        }
        while batch.len() < 64 * 1024
            && let Ok(text) = texts.try_recv()
        {
            batch.push_str(&text);
        }
        match file.write_all(batch.as_bytes()) {
            Ok(()) => batch.clear(),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return WriterEnd::ReaderGone;
            }
            Err(error) => return WriterEnd::Failed(error),
        }
    }
}

/// A pipe whose reader is gone says so before anything is written to it.
fn reader_gone(file: &std::fs::File) -> bool {
    let mut pipe = [PollFd::new(file.as_fd(), PollFlags::empty())];
    let polled = poll(&mut pipe, PollTimeout::ZERO);
    let [pipe] = pipe;
    polled.is_ok()
        && pipe
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLERR))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use std::io::Read as _;

    #[test]
    fn everything_taken_is_written() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let (mut writer, _ended) = Writer::new(pipe.into());
        for n in 0..100 {
            writer.write(format!("{n}\n"));
        }
        assert!(matches!(writer.finish(), WriterEnd::Written));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 100);
    }

    #[test]
    fn a_reader_that_stalls_costs_counted_texts_and_no_time() {
        let (_stalled, pipe) = io::pipe().unwrap();
        let (mut writer, _ended) = Writer::new(pipe.into());
        for _ in 0..QUEUE * 4 {
            writer.write("x".repeat(64));
        }
        assert!(writer.lost() > 0);
    }

    #[test]
    fn a_reader_that_goes_is_noticed_without_writing() {
        let (reader, pipe) = io::pipe().unwrap();
        let (writer, ended) = Writer::new(pipe.into());
        drop(reader);
        ended.blocking_recv().unwrap();
        assert!(matches!(writer.finish(), WriterEnd::ReaderGone));
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let (mut writer, ended) = Writer::new(full.into());
        writer.write("x".to_owned());
        ended.blocking_recv().unwrap();
        assert!(matches!(writer.finish(), WriterEnd::Failed(_)));
    }
}
