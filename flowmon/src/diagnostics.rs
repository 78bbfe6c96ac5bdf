//! What flowmon says of itself, on standard error: text for people or JSON lines, and never so much of
//! one kind that the rest can't be found.

mod aside;
mod limit;
mod line;

use std::{
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{Event, Level, Subscriber, callsite::Identifier, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

pub use aside::{hold, latest, release};

use crate::clock::Moment;
use limit::Limit;
use line::Message;

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `LEVEL message field=value`
    Text,
    /// One object a line: `time`, `level`, `message`, and `fields` if there are any.
    Json,
}

/// What is written at all.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// So much of flowmon's own. The libraries below it say much that only their developers want to
    /// know.
    Ours(LevelFilter),
    /// By target, like `warn` or `flowmon=debug,h2=info`.
    Targets(Targets),
}

/// What has been said, for its end.
#[derive(Debug)]
pub struct Diagnostics {
    format: Format,
    now: fn() -> Moment,
    limit: Arc<Mutex<Limit<Identifier, (Level, String)>>>,
}

impl Diagnostics {
    /// From here on messages are written. To be called once.
    pub fn begin(format: Format, wanted: Wanted, now: fn() -> Moment) -> Self {
        let diagnostics = Self {
            format,
            now,
            limit: Arc::default(),
        };
        let targets = match wanted {
            Wanted::Ours(level) => Targets::new()
                .with_target("flowmon", level)
                .with_default(LevelFilter::WARN),
            Wanted::Targets(targets) => targets,
        };
        let layer = Self {
            limit: Arc::clone(&diagnostics.limit),
            ..diagnostics
        };
        tracing_subscriber::registry()
            .with(layer.with_filter(targets))
            .init();
        diagnostics
    }

    /// Says what was held back.
    pub fn end(&self) {
        let now = (self.now)();
        let held = self.limit().take_all();
        self.tell_of(held, &now);
    }

    fn limit(&self) -> std::sync::MutexGuard<'_, Limit<Identifier, (Level, String)>> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_of(&self, held: Vec<(u64, (Level, String))>, now: &Moment) {
        for (count, (level, latest)) in held {
            let text = format!("{count} more messages of this kind, the latest: {latest}");
            self.write(level, &Message::of(text), now);
        }
    }

    /// A line at once, so that lines of several threads do not mix. Where nobody reads, nothing can be
    /// said about it.
    fn write(&self, level: Level, message: &Message, now: &Moment) {
        let line = match self.format {
            Format::Text => message.text(level),
            Format::Json => message.json(level, now),
        };
        let _unread = aside::Log.write_all(line.as_bytes());
    }
}

impl<S: Subscriber> Layer<S> for Diagnostics {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let level = *metadata.level();
        let now = (self.now)();
        let message = Message::from(event);
        // Who asked for details gets all of them.
        let (admitted, held) = if level > Level::INFO {
            (true, Vec::new())
        } else {
            let mut limit = self.limit();
            let held = limit.take_due(now.monotonic_ns);
            let kind = metadata.callsite();
            let admitted = limit.admit(kind, now.monotonic_ns, || (level, message.words()));
            (admitted, held)
        };
        self.tell_of(held, &now);
        if admitted {
            self.write(level, &message, &now);
        }
    }
}
