//! The flow log: a file that is followed by others when it is big or old, and that a full disk does
//! not end.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use super::Target;

/// When another file is begun, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of a file.
    pub bytes: u64,
    /// Time from its beginning.
    pub age: Duration,
    /// Old files that are kept: `FILE.1` is the youngest.
    pub keep: u32,
}

/// What standard output is called.
const STDOUT: &str = "-";

/// A log of lines. What can't be written is lost, counted, and told of once.
pub struct LogFile {
    path: PathBuf,
    limits: LogLimits,
    now: fn() -> Timestamp,
    open: Option<Open>,
    lost: Arc<AtomicU64>,
    is_failing: bool,
}

struct Open {
    file: File,
    bytes: u64,
    began: Timestamp,
    /// Not a pipe or a device, which is never over; nor is standard output, whatever that is.
    is_regular: bool,
}

impl LogFile {
    /// Goes on with the file at `path`, or begins it: to fail at once tells of a wrong path. `-` is
    /// standard output. The number is of lines that were lost.
    pub fn open(
        path: PathBuf,
        limits: LogLimits,
        now: fn() -> Timestamp,
    ) -> io::Result<(Self, Arc<AtomicU64>)> {
        let lost = Arc::new(AtomicU64::new(0));
        let log = Self {
            open: Some(Open::at(&path, now())?),
            path,
            limits,
            now,
            lost: Arc::clone(&lost),
            is_failing: false,
        };
        Ok((log, lost))
    }

    fn write(&mut self, portion: &[u8]) -> io::Result<()> {
        let now = (self.now)();
        let added = u64::try_from(portion.len()).unwrap_or(u64::MAX);
        let is_over = self.open.as_ref().is_some_and(|open| {
            let age = Duration::try_from(now.duration_since(open.began)).unwrap_or_default();
            open.is_regular
                && open.bytes > 0
                && (open.bytes + added > self.limits.bytes || age >= self.limits.age)
        });
        // Somebody may have moved or removed it.
        let is_there = self
            .open
            .as_ref()
            .is_some_and(|open| open.is_at(&self.path));
        if is_over && is_there {
            self.rotate()?;
        }
        if is_over || !is_there {
            self.open = None;
        }
        let open = match &mut self.open {
            Some(open) => open,
            open @ None => open.insert(Open::at(&self.path, now)?),
        };
        open.append(portion)
    }

    fn rotate(&self) -> io::Result<()> {
        if self.limits.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for n in (1..self.limits.keep).rev() {
            match fs::rename(self.old(n), self.old(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.old(1))
    }

    fn old(&self, n: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{n}"));
        path.into()
    }
}

impl Target for LogFile {
    fn put(&mut self, portion: &[u8]) -> io::Result<()> {
        match self.write(portion) {
            Ok(()) if self.is_failing => {
                self.is_failing = false;
                let lost = self.lost.load(Ordering::Relaxed);
                tracing::info!("the flow log is written again; {lost} records were lost so far");
            }
            Ok(()) => {}
            Err(error) => {
                // To open it again cuts off what may have come of a line.
                self.open = None;
                let lines = portion.split(|byte| *byte == b'\n').count() - 1;
                let lines = u64::try_from(lines).unwrap_or(u64::MAX);
                self.lost.fetch_add(lines, Ordering::Relaxed);
                if !self.is_failing {
                    self.is_failing = true;
                    let path = self.path.display();
                    tracing::error!(
                        "cannot write the flow log {path}: {error}; records are lost, and counted, \
                         until it can be"
                    );
                }
            }
        }
        Ok(())
    }
}

impl Open {
    fn at(path: &Path, now: Timestamp) -> io::Result<Self> {
        if path == Path::new(STDOUT) {
            return Ok(Self {
                file: io::stdout().as_fd().try_clone_to_owned()?.into(),
                bytes: 0,
                began: now,
                is_regular: false,
            });
        }
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path)?;
        let metadata = file.metadata()?;
        let is_regular = metadata.is_file();
        let bytes = if is_regular {
            whole_lines(&mut file)?
        } else {
            0
        };
        let began = metadata.created().ok();
        let began = began.and_then(|began| Timestamp::try_from(began).ok());
        Ok(Self {
            file,
            bytes,
            began: if bytes == 0 {
                now
            } else {
                began.unwrap_or(now)
            },
            is_regular,
        })
    }

    /// All of it or nothing.
    fn append(&mut self, portion: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(portion);
        match &written {
            Ok(()) => self.bytes += u64::try_from(portion.len()).unwrap_or(u64::MAX),
            Err(_) if self.is_regular => {
                let _cut_off = self.file.set_len(self.bytes);
            }
            Err(_) => {}
        }
        written
    }

    fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        if path == Path::new(STDOUT) {
            return true;
        }
        let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let both = self.file.metadata().ok().zip(fs::metadata(path).ok());
        both.is_some_and(|(open, there)| same(open, there))
    }
}

/// Cuts off what a killed writer left of a line. Returns how long the file is.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    const STEP: u64 = 64 * 1024;
    let length = file.metadata()?.len();
    let mut end = length;
    while end > 0 {
        let begin = end.saturating_sub(STEP);
        let mut part = Vec::new();
        file.seek(SeekFrom::Start(begin))?;
        io::Read::by_ref(file)
            .take(end - begin)
            .read_to_end(&mut part)?;
        if let Some(last) = part.iter().rposition(|byte| *byte == b'\n') {
            end = begin + u64::try_from(last).unwrap_or(0) + 1;
            break;
        }
        end = begin;
    }
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    const LIMITS: LogLimits = LogLimits {
        bytes: 20,
        age: Duration::from_hours(1),
        keep: 2,
    };

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let id = std::process::id();
            let path = std::env::temp_dir().join(format!("flowmon-log-{name}-{id}"));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn read(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.0.join(name)).ok()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _removed = fs::remove_dir_all(&self.0);
        }
    }

    fn log(folder: &Folder, limits: LogLimits) -> (LogFile, Arc<AtomicU64>) {
        LogFile::open(folder.0.join("log"), limits, || Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn big_files_are_followed_by_others_and_old_ones_go() {
        let folder = Folder::new("size");
        let (mut log, lost) = log(&folder, LIMITS);
        for n in 0..10 {
            log.put(format!("line {n:03}\n").as_bytes()).unwrap();
        }
        let read = |name| folder.read(name);
        assert_eq!(read("log").unwrap(), "line 008\nline 009\n");
        assert_eq!(read("log.1").unwrap(), "line 006\nline 007\n");
        assert_eq!(read("log.2").unwrap(), "line 004\nline 005\n");
        assert_eq!(read("log.3"), None);
        assert_eq!(lost.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_torn_line_is_cut_off_and_whole_ones_are_continued() {
        let folder = Folder::new("torn");
        fs::write(folder.0.join("log"), "whole\nto").unwrap();
        let (mut log, _) = log(&folder, LIMITS);
        log.put(b"next\n").unwrap();
        assert_eq!(folder.read("log").unwrap(), "whole\nnext\n");
    }

    #[test]
    fn a_file_that_was_moved_or_a_folder_that_was_removed_is_found_out() {
        let folder = Folder::new("moved");
        let limits = LogLimits {
            bytes: 1000,
            ..LIMITS
        };
        let (mut log, lost) = log(&folder, limits);
        log.put(b"a\n").unwrap();
        fs::rename(folder.0.join("log"), folder.0.join("moved")).unwrap();
        log.put(b"b\n").unwrap();
        assert_eq!(folder.read("log").unwrap(), "b\n");
        assert_eq!(folder.read("moved").unwrap(), "a\n");
        fs::remove_dir_all(&folder.0).unwrap();
        log.put(b"c\nd\n").unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        fs::create_dir_all(&folder.0).unwrap();
        log.put(b"e\n").unwrap();
        assert_eq!(folder.read("log").unwrap(), "e\n");
        assert_eq!(lost.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_old_file_is_followed_by_another() {
        let folder = Folder::new("age");
        let path = folder.0.join("log");
        let far = || Timestamp::from_second(4_000_000_000).unwrap();
        let limits = LogLimits {
            bytes: 1000,
            ..LIMITS
        };
        fs::write(&path, "old\n").unwrap();
        let (mut log, _) = LogFile::open(path, limits, far).unwrap();
        log.put(b"young\n").unwrap();
        assert_eq!(folder.read("log").unwrap(), "young\n");
        assert_eq!(folder.read("log.1").unwrap(), "old\n");
    }
}
