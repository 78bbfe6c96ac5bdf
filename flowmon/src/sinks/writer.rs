//! Writes on a thread of its own, so that a slow reader slows nobody else.

use std::{
    io::{self, Write},
    os::fd::{AsFd as _, OwnedFd},
    sync::mpsc::{
        Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel,
    },
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

/// What portions are written to. Each is of whole reports.
pub trait Target: Send + 'static {
    /// Writes all of it; an error ends the writing.
    fn put(&mut self, portion: &[u8]) -> io::Result<()>;

    /// Is nobody there any more who reads it?
    fn is_left(&self) -> bool {
        false
    }
}

impl Target for std::fs::File {
    fn put(&mut self, portion: &[u8]) -> io::Result<()> {
        self.write_all(portion)
    }

    /// A pipe whose reader is gone says so before anything is written to it.
    fn is_left(&self) -> bool {
        let mut pipe = [PollFd::new(self.as_fd(), PollFlags::empty())];
        let polled = poll(&mut pipe, PollTimeout::ZERO);
        let [pipe] = pipe;
        polled.is_ok()
            && pipe
                .revents()
                .is_some_and(|events| events.contains(PollFlags::POLLERR))
    }
}

/// Reports on their way to a file or pipe, through a bounded queue. Handing them over wakes another
/// thread, so they go in portions.
#[derive(Debug)]
pub struct Writer {
    portion: Vec<u8>,
    reports: u64,
    queue: SyncSender<Vec<u8>>,
    /// Portions that were written come back, to be filled again; disconnected when the writing ends.
    written: Receiver<Vec<u8>>,
    /// Portions that have not come back.
    under_way: usize,
    thread: JoinHandle<WriterEnd>,
    lost: u64,
    patient: bool,
}

/// A portion goes when it has this many bytes, or when it is [`Writer::flush`]ed.
const PORTION: usize = 64 * 1024;
/// Portions that may wait, 32 MB: all that a flood's drain has to say, should nobody write meanwhile.
const QUEUE: usize = 512;
/// At the end, a reader that takes nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a reader's going is looked for while there is nothing to write.
const IDLE: Duration = Duration::from_millis(200);

impl Writer {
    /// Writes to `target`. The receiver hears of it when writing ends before [`Self::finish`].
    pub fn new(target: OwnedFd) -> (Self, oneshot::Receiver<()>) {
        Self::to(std::fs::File::from(target))
    }

    /// The same, to anything that takes portions.
    pub fn to(target: impl Target) -> (Self, oneshot::Receiver<()>) {
        let (queue, portions) = sync_channel(QUEUE);
        let (back, written) = channel();
        let (ended, early) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let end = write_all(&portions, target, &back);
            // Nobody waits for it when the run is over.
            let _unheard = ended.send(());
            end
        });
        let writer = Self {
            portion: Vec::new(),
            reports: 0,
            queue,
            written,
            under_way: 0,
            thread,
            lost: 0,
            patient: false,
        };
        (writer, early)
    }

    /// Takes a report: `write` appends it to the portion, if there is anything to say. Whole or not at all: when the queue is full
    /// the portion is lost, and counted.
    pub fn report(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.portion.len();
        write(&mut self.portion);
        self.reports += u64::from(self.portion.len() > before);
        if self.portion.len() >= PORTION {
            self.hand_over();
        }
    }

    /// From now on nothing else is kept waiting: a full queue is waited for, and [`Self::flush`] returns
    /// when all is written or counted as lost.
    pub const fn be_patient(&mut self) {
        self.patient = true;
    }

    /// Hands over what there is.
    pub fn flush(&mut self) {
        self.hand_over();
        while self.patient && self.under_way > 0 && self.progresses() {}
    }

    fn hand_over(&mut self) {
        if self.reports == 0 {
            return;
        }
        let mut next = Vec::new();
        for portion in self.written.try_iter() {
            self.under_way -= 1;
            next = portion; // one is enough: a stall may have piled up all others
        }
        let portion = std::mem::replace(&mut self.portion, next);
        let reports = std::mem::take(&mut self.reports);
        if !self.send(portion) {
            self.lost += reports;
        }
    }

    fn send(&mut self, mut portion: Vec<u8>) -> bool {
        loop {
            match self.queue.try_send(portion) {
                Ok(()) => {
                    self.under_way += 1;
                    return true;
                }
                Err(TrySendError::Full(back)) if self.patient && self.progresses() => {
                    portion = back;
                }
                Err(_) => return false,
            }
        }
    }

    /// Waits until a portion was written. False when none was, or writing has ended: then patience has, too.
    fn progresses(&mut self) -> bool {
        self.patient = self.written.recv_timeout(PATIENCE).is_ok();
        self.under_way -= usize::from(self.patient);
        self.patient
    }

    /// Reports lost so far.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Hands over a last report, and waits until all is written.
    pub fn finish(mut self, last: Vec<u8>) -> WriterEnd {
        self.be_patient();
        self.flush();
        // When nobody takes it any more, the thread's end says why.
        let _taken = self.send(last);
        let Self {
            queue,
            written,
            thread,
            ..
        } = self;
        drop(queue);
        loop {
            match written.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let stalled =
                        io::Error::new(io::ErrorKind::TimedOut, "its reader does not read");
                    return WriterEnd::Failed(stalled);
                }
            }
        }
        thread
            .join()
            .unwrap_or_else(|_| WriterEnd::Failed(io::Error::other("the writer died")))
    }
}

fn write_all(
    portions: &Receiver<Vec<u8>>,
    mut target: impl Target,
    back: &Sender<Vec<u8>>,
) -> WriterEnd {
    loop {
        let mut portion = match portions.recv_timeout(IDLE) {
            Ok(portion) => portion,
            Err(RecvTimeoutError::Timeout) if target.is_left() => return WriterEnd::ReaderGone,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return WriterEnd::Written,
        };
        match target.put(&portion) {
            Ok(()) => {
                portion.clear();
                // Nobody fills another one when the run is over.
                let _kept = back.send(portion);
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return WriterEnd::ReaderGone;
            }
            Err(error) => return WriterEnd::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::{
        io::Read as _,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use super::*;

    #[test]
    fn everything_taken_is_written() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let (mut writer, _ended) = Writer::new(pipe.into());
        for n in 0..100 {
            writer.report(|portion| writeln!(portion, "{n}").unwrap());
        }
        assert!(matches!(
            writer.finish(b"last\n".to_vec()),
            WriterEnd::Written
        ));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 101);
        assert!(text.ends_with("99\nlast\n"));
    }

    #[test]
    fn a_reader_that_stalls_costs_counted_reports_and_no_time() {
        let (_stalled, pipe) = io::pipe().unwrap();
        let (mut writer, _ended) = Writer::new(pipe.into());
        for _ in 0..QUEUE * 2 {
            writer.report(|portion| portion.resize(PORTION / 2, b'x'));
            writer.report(|portion| portion.resize(PORTION, b'x'));
        }
        assert!(
            writer.lost() > 0 && writer.lost() % 2 == 0,
            "{}",
            writer.lost()
        );
    }

    #[test]
    fn at_the_end_a_slow_reader_is_waited_for() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let (mut writer, _ended) = Writer::new(pipe.into());
        let reading = std::thread::spawn(move || {
            let (mut all, mut some) = (0, vec![0; 4096]);
            loop {
                match reader.read(&mut some).unwrap() {
                    0 => return all,
                    read => all += read,
                }
            }
        });
        writer.be_patient();
        for _ in 0..QUEUE * 2 {
            writer.report(|portion| portion.resize(PORTION, b'x'));
        }
        assert_eq!(writer.lost(), 0);
        assert!(matches!(writer.finish(Vec::new()), WriterEnd::Written));
        assert_eq!(reading.join().unwrap(), QUEUE * 2 * PORTION);
    }

    /// Loses what it is given, after a while.
    struct Slow(Arc<AtomicUsize>);

    impl Target for Slow {
        fn put(&mut self, _: &[u8]) -> io::Result<()> {
            std::thread::sleep(Duration::from_millis(50));
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn at_the_end_what_could_not_be_written_is_known_before_the_last_report() {
        let lost = Arc::new(AtomicUsize::new(0));
        let (mut writer, _ended) = Writer::to(Slow(Arc::clone(&lost)));
        for _ in 0..3 {
            writer.report(|portion| portion.push(b'x'));
            writer.flush();
        }
        assert!(lost.load(Ordering::Relaxed) < 3, "nobody waits before");
        writer.be_patient();
        writer.report(|portion| portion.push(b'x'));
        writer.flush();
        assert_eq!(lost.load(Ordering::Relaxed), 4);
    }

    /// Takes nothing until nobody is there to tell it to.
    struct Stalled(Receiver<()>);

    impl Target for Stalled {
        fn put(&mut self, _: &[u8]) -> io::Result<()> {
            self.0.recv().map_or(Ok(()), |()| Ok(()))
        }
    }

    #[test]
    fn what_a_stall_piled_up_is_not_kept() {
        let (gate, closed) = channel();
        let (mut writer, _ended) = Writer::to(Stalled(closed));
        let mut hand_over = || {
            writer.report(|portion| portion.push(b'x'));
            writer.flush();
            writer.under_way
        };
        assert!((0..100).map(|_| hand_over()).all(|under_way| under_way > 0));
        drop(gate);
        let is_one = (0..5000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            hand_over() == 1
        });
        assert!(is_one, "all others have come back");
    }

    #[test]
    fn a_reader_that_goes_is_noticed_without_writing() {
        let (reader, pipe) = io::pipe().unwrap();
        let (writer, ended) = Writer::new(pipe.into());
        drop(reader);
        ended.blocking_recv().unwrap();
        assert!(matches!(writer.finish(Vec::new()), WriterEnd::ReaderGone));
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let (mut writer, ended) = Writer::new(full.into());
        writer.report(|portion| portion.push(b'x'));
        writer.flush();
        ended.blocking_recv().unwrap();
        assert!(matches!(writer.finish(Vec::new()), WriterEnd::Failed(_)));
    }
}
