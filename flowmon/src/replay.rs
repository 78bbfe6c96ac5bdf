//! Recorded flow records, read as a stream: gigabytes of JSON lines in bounded memory.
//!
//! Logs are untrusted: what can't be read is told with its line, and reading goes on.

mod identity;
mod lines;
mod record;
mod text;

pub use identity::{Identities, Identity};
pub use record::{Address, Counted, Endpoint, Record, Recorded, Remote, SummaryLine, Tcp};
pub use text::Text;

use std::io;

use lines::{Line, Lines};

/// One line of a log.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "made and taken apart once a line, never kept"
)]
pub enum Entry<'a> {
    /// A flow record, and the line it was read from, without its end.
    Flow(Record<'a>, &'a str),
    /// The end of a run.
    Summary(SummaryLine),
    /// A line of another schema, by its name.
    Foreign(Text<'a>),
    /// A line that can't be read, and why.
    Unreadable(String),
}

/// A log that is being read.
#[derive(Debug)]
pub struct Log<R> {
    lines: Lines<R>,
}

impl<R: io::Read> Log<R> {
    /// Reads from the beginning.
    pub fn new(source: R) -> Self {
        Self {
            lines: Lines::new(source),
        }
    }

    /// The number of the line that was read last, from 1.
    pub const fn line(&self) -> u64 {
        self.lines.number()
    }

    /// The next line that is not blank; none at the end.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry<'_>>> {
        let line = loop {
            match self.lines.advance()? {
                None => return Ok(None),
                Some(Line::Blank) => {}
                Some(Line::TooLong) => {
                    let most = lines::LONGEST >> 20;
                    let why = format!("longer than {most} MiB");
                    return Ok(Some(Entry::Unreadable(why)));
                }
                Some(Line::Whole) => break self.lines.line(),
            }
        };
        Ok(Some(match std::str::from_utf8(line) {
            Ok(line) => record::read(line),
            Err(error) => {
                let at = error.valid_up_to() + 1;
                Entry::Unreadable(format!("not UTF-8 at column {at}"))
            }
        }))
    }
}
