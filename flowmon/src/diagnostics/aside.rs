//! Messages are kept aside while something else has the terminal.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal as _, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Lines that are kept aside; of more, the latest.
const MOST: usize = 1000;

static HELD: Mutex<Option<Held>> = Mutex::new(None);

#[derive(Debug, Default)]
struct Held {
    lines: VecDeque<Vec<u8>>,
    /// How many there were.
    ever: u64,
}

/// Standard error, or what is kept aside: one message with each write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log;

impl Write for Log {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let mut held = held();
        let Some(held) = &mut *held else {
            return io::stderr().write(entry);
        };
        if held.lines.len() == MOST {
            held.lines.pop_front();
        }
        held.lines.push_back(entry.to_owned());
        held.ever += 1;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on entries are kept aside, if they would go to a terminal.
pub fn hold() {
    if io::stderr().is_terminal() {
        held().get_or_insert_default();
    }
}

/// Writes what was kept aside, and from now on everything at once.
pub fn release() {
    let Some(Held { lines, ever }) = held().take() else {
        return;
    };
    let mut stderr = io::stderr();
    let missing = ever - lines.len() as u64;
    // There is nowhere to say that stderr can't be written.
    if missing > 0 {
        let _unheard = writeln!(stderr, "({missing} earlier lines were not kept)");
    }
    for line in lines {
        let _unheard = stderr.write_all(&line);
    }
}

/// The latest entry that was kept aside, and how many there were.
pub fn latest() -> Option<(u64, String)> {
    let held = held();
    let held = held.as_ref()?;
    let line = String::from_utf8_lossy(held.lines.back()?).into_owned();
    Some((held.ever, line))
}

fn held() -> MutexGuard<'static, Option<Held>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}
