//! The terminal, taken and given back: however the watch ends, it is as it was.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    os::fd::AsFd as _,
    panic,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
    layout::{Position, Rect},
};

use super::{draw, look::Look, view::View};
use crate::diagnostics;

/// Is it taken?
static IS_TAKEN: AtomicBool = AtomicBool::new(false);
/// Held while something is written to it.
static WRITING: Mutex<()> = Mutex::new(());
/// A terminal that takes nothing for so long (ms) is not waited for.
const PATIENCE_MS: u16 = 500;

/// The terminal, taken.
pub(super) struct Screen(Terminal<CrosstermBackend<BufWriter<File>>>);

impl Screen {
    /// Takes it.
    pub(super) fn enter() -> io::Result<Self> {
        leave_on_panic();
        let mut stdout = stdout()?;
        diagnostics::hold();
        IS_TAKEN.store(true, Ordering::SeqCst);
        let entered = enable_raw_mode()
            .and_then(|()| execute!(stdout, EnterAlternateScreen, Hide))
            .and_then(|()| Terminal::new(CrosstermBackend::new(BufWriter::new(stdout))))
            .and_then(|mut terminal| clear(&mut terminal).map(|()| terminal));
        if entered.is_err() {
            leave();
        }
        Ok(Self(entered?))
    }

    /// Shows the view. False when the terminal was given back meanwhile.
    pub(super) fn show(&mut self, view: &mut View, look: Look, anew: bool) -> io::Result<bool> {
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        if !IS_TAKEN.load(Ordering::SeqCst) {
            return Ok(false);
        }
        if anew {
            clear(&mut self.0)?;
        }
        self.0.draw(|frame| {
            let area = frame.area();
            view.settle(draw::room(view, look, area));
            draw::draw(view, look, area, frame.buffer_mut());
        })?;
        Ok(true)
    }
}

/// Everything is to be drawn anew. `Terminal::clear` would ask the terminal where its cursor is, which
/// not every one answers, and then not at once.
fn clear(terminal: &mut Terminal<CrosstermBackend<BufWriter<File>>>) -> io::Result<()> {
    let size = terminal.size()?;
    terminal.resize(Rect::from((Position::ORIGIN, size)))
}

/// Gives it back, if it is taken.
pub(super) fn leave() {
    if !IS_TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // Who writes ends soon, or waits for a terminal that takes nothing.
    let mut tries = 0..PATIENCE_MS / 10;
    let writing = std::iter::from_fn(|| {
        let writing = WRITING.try_lock().ok();
        if writing.is_none() {
            std::thread::sleep(Duration::from_millis(10));
        }
        tries.next().map(|_| writing)
    });
    let _writing = writing.flatten().next();
    if let Ok(mut stdout) = stdout()
        && takes_output(&stdout)
    {
        // What fails here has nobody left to be told.
        let _left = execute!(stdout, LeaveAlternateScreen, Show).and_then(|()| stdout.flush());
    }
    let _cooked = disable_raw_mode();
    diagnostics::release();
}

fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

fn takes_output(stdout: &File) -> bool {
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::from(PATIENCE_MS)).is_ok_and(|ready| ready > 0)
}

/// A panic is told on the terminal as it was.
fn leave_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            leave();
            tell(info);
        }));
    });
}
