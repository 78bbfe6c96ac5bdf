//! A live view on a terminal. What is told is added up here and handed over each interval to a thread
//! that has the terminal; while that is busy it is added to the next one.

mod draw;
mod filter;
mod keys;
mod look;
mod screen;
mod shell;
mod state;
mod verdict;
mod view;
mod violations;

#[cfg(test)]
mod tests;

use std::{
    io, mem,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Overview, Sink, Told, Writer, WriterEnd, table, talks::Talks};
use crate::{clock::Moment, model::Summary};
use state::Interval;

/// Shorter intervals are put together: nobody reads faster.
const SHORTEST_NS: u64 = 250_000_000;
/// To let go of the terminal takes milliseconds; after so long it is taken.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells somebody who looks at a terminal.
#[derive(Debug)]
pub struct Terminal {
    talks: Talks,
    /// When the interval began.
    since: Moment,
    is_begun: bool,
    shell: Option<Shell>,
    /// For the last word.
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Shell {
    queue: SyncSender<Interval>,
    /// Disconnected when the thread is done.
    done: Receiver<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Terminal {
    /// Takes the terminal when the watch has begun, and writes the summary to `writer` when it has
    /// ended. The receiver hears when whoever looks wants it to end.
    pub fn new(now: Moment, writer: Writer) -> (Self, oneshot::Receiver<()>) {
        let (queue, intervals) = sync_channel(1);
        let (is_done, done) = sync_channel(0);
        let (ended, early) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let _done_when_dropped: SyncSender<()> = is_done;
            let _ended_when_dropped = ended;
            shell::run(&intervals, now)
        });
        let terminal = Self {
            talks: Talks::default(),
            since: now,
            is_begun: false,
            shell: Some(Shell {
                queue,
                done,
                thread,
            }),
            writer: Some(writer),
        };
        (terminal, early)
    }

    /// The terminal is as it was before.
    fn let_go(&mut self) -> WriterEnd {
        let Some(Shell {
            queue,
            done,
            thread,
        }) = self.shell.take()
        else {
            return WriterEnd::Written;
        };
        drop(queue);
        let _disconnected_or_late = done.recv_timeout(PATIENCE);
        screen::leave();
        if !thread.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !thread.is_finished() {
            // It waits for a terminal that is gone or takes nothing.
            return WriterEnd::ReaderGone;
        }
        match thread.join() {
            Ok(Ok(())) => WriterEnd::Written,
            Ok(Err(error)) => WriterEnd::Failed(error),
            Err(_) => WriterEnd::Failed(io::Error::other("the terminal's thread died")),
        }
    }
}

impl Sink for Terminal {
    fn flow(&mut self, told: &Told<'_>) {
        self.talks.add(told);
    }

    fn interval(&mut self, overview: &Overview, now: &Moment) {
        let elapsed = now.monotonic_ns.saturating_sub(self.since.monotonic_ns);
        let Some(shell) = self.shell.as_ref().filter(|_| elapsed >= SHORTEST_NS) else {
            return;
        };
        let interval = Interval {
            talks: mem::take(&mut self.talks),
            overview: overview.clone(),
            now: *now,
            seconds: elapsed as f64 / 1e9,
        };
        match shell.queue.try_send(interval) {
            Ok(()) => self.since = *now,
            Err(TrySendError::Full(interval) | TrySendError::Disconnected(interval)) => {
                self.talks = interval.talks;
            }
        }
    }

    /// The watch has begun.
    fn flush(&mut self) {
        if mem::replace(&mut self.is_begun, true) {
            return;
        }
        let nothing_yet = Interval {
            talks: Talks::default(),
            overview: Overview::default(),
            now: self.since,
            seconds: 0.0,
        };
        if let Some(shell) = &self.shell {
            // The first interval does as well.
            let _full = shell.queue.try_send(nothing_yet);
        }
    }

    fn finish(mut self: Box<Self>, summary: &Summary) -> WriterEnd {
        let end = self.let_go();
        let Some(writer) = self
            .writer
            .take()
            .filter(|_| matches!(end, WriterEnd::Written))
        else {
            return end;
        };
        writer.finish(table::closing(summary).into_bytes())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Whatever ended the watch is told by others.
        let _end = self.let_go();
    }
}
