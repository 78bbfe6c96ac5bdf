//! The thread that has the terminal: keys in, pictures out.

use std::{
    env,
    io::{self, stdin},
    os::fd::AsFd as _,
    sync::mpsc::{Receiver, TryRecvError},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use ratatui::crossterm::event::{self, Event};

use super::{
    keys,
    look::Look,
    screen::{self, Screen},
    state::Interval,
    view::{Then, View},
};
use crate::{clock::Moment, diagnostics};

/// How long keys are waited for before what was told is looked at (ms).
const BEAT_MS: u16 = 100;
/// Beats that a line of the log stays in sight.
const MESSAGE: u32 = 100;
/// Keys that are taken before anything is drawn.
const MOST_KEYS: usize = 256;

/// Shows what it is told, until it is told no more, or somebody has seen enough.
pub(super) fn run(intervals: &Receiver<Interval>, now: Moment) -> io::Result<()> {
    // Until there is something to show the terminal is left alone.
    let Ok(first) = intervals.recv() else {
        return Ok(());
    };
    let mut view = View::new(now);
    view.take(first);
    let mut screen = Screen::enter()?;
    let looked = look_on(intervals, &mut view, &mut screen, Look::of_environment());
    screen::leave();
    looked
}

fn look_on(
    intervals: &Receiver<Interval>,
    view: &mut View,
    screen: &mut Screen,
    look: Look,
) -> io::Result<()> {
    let mut messages = Messages::default();
    let mut then = Some(Then::Draw);
    loop {
        if then == Some(Then::Quit) {
            return Ok(());
        }
        if then.is_some() && !screen.show(view, look, then == Some(Then::Redraw))? {
            return Ok(());
        }
        let Some(is_waiting) = await_keys()? else {
            return Ok(());
        };
        let (taken, keys) = take_keys(view)?;
        then = keys;
        if is_waiting && taken == 0 {
            // crossterm forgets that there is something to read when the size changes at the same
            // time; the next key tells it.
            std::thread::sleep(Duration::from_millis(BEAT_MS.into()));
        }
        loop {
            match intervals.try_recv() {
                Ok(interval) => {
                    view.take(interval);
                    then = then.or(Some(Then::Draw));
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        if messages.beat(view) {
            then = then.or(Some(Then::Draw));
        }
    }
}

/// Waits for a key, for a beat; none when there is no terminal any more, from which crossterm would
/// read for ever.
fn await_keys() -> io::Result<Option<bool>> {
    let stdin = stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(BEAT_MS)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [fd] = fds;
    let events = fd.revents().unwrap_or(PollFlags::empty());
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    Ok((!events.intersects(gone)).then(|| events.contains(PollFlags::POLLIN)))
}

/// Those that wait: how many, and what is to be done.
fn take_keys(view: &mut View) -> io::Result<(usize, Option<Then>)> {
    let (mut taken, mut then) = (0, None);
    while taken < MOST_KEYS && event::poll(Duration::ZERO)? {
        taken += 1;
        match event::read()? {
            Event::Key(key) => {
                if let Some(action) = keys::action(key, view.mode()) {
                    then = Some(view.act(action));
                }
            }
            Event::Resize(..) => then = Some(Then::Redraw),
            _ => {}
        }
        if then == Some(Then::Quit) {
            break;
        }
    }
    Ok((taken, then))
}

/// Lines of the log, each for a while.
#[derive(Default)]
struct Messages {
    seen: u64,
    beats_left: u32,
}

impl Messages {
    /// True when there is another one to show, or none any more.
    fn beat(&mut self, view: &mut View) -> bool {
        if let Some((count, line)) = diagnostics::latest()
            && count > self.seen
        {
            self.seen = count;
            self.beats_left = MESSAGE;
            view.message = Some(line);
            return true;
        }
        if view.message.is_none() {
            return false;
        }
        self.beats_left = self.beats_left.saturating_sub(1);
        if self.beats_left == 0 {
            view.message = None;
        }
        self.beats_left == 0
    }
}

impl Look {
    /// By `NO_COLOR` (no-color.org) and the locale.
    fn of_environment() -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let is_utf8 = |locale: String| {
            let locale = locale.to_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        };
        Self {
            has_colours: set("NO_COLOR").is_none(),
            has_unicode: locale.is_none_or(is_utf8),
        }
    }
}
