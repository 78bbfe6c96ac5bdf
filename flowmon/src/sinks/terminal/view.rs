//! What of it is looked at, and how: actions in. Pure.

use std::{cmp::Ordering, sync::Arc};

use flowmon_common::FlowKey;

use super::{
    filter::Filter,
    keys::{Action, Mode},
    state::{FlowNow, Interval, Rates, State, TalkNow},
    violations::Group,
};
use crate::{clock::Moment, sinks::talks::Talk};

/// Everything that is behind the picture.
#[derive(Debug)]
pub(super) struct View {
    live: State,
    /// What is looked at while the live state goes on.
    paused: Option<Box<State>>,
    pub(super) page: Page,
    pub(super) pane: Pane,
    pub(super) shows_help: bool,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: Filter,
    pub(super) is_typing: bool,
    pub(super) talks: Cursor<Arc<Talk>>,
    pub(super) violations: Cursor<u64>,
    pub(super) flows: Cursor<FlowKey>,
    /// What was last said in the log.
    pub(super) message: Option<String>,
}

/// What fills the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    /// All talks, and violations.
    Overview,
    /// One talk, and its flows.
    Talk(Arc<Talk>),
    /// One flow of it.
    Flow(Arc<Talk>, FlowKey),
}

/// Where on the first page the keys go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    /// Talks.
    Talks,
    /// Violations.
    Violations,
}

/// What rows are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Bytes both ways.
    Rate,
    /// Bytes the endpoint sends.
    Sent,
    /// Bytes it receives.
    Received,
    /// Round trips over the network.
    Network,
    /// Round trips into the container.
    Container,
    /// Segments sent again.
    Retransmits,
    /// The endpoint's name.
    Endpoint,
    /// The peer's.
    Peer,
}

impl Sort {
    const ALL: [Self; 8] = [
        Self::Rate,
        Self::Sent,
        Self::Received,
        Self::Network,
        Self::Container,
        Self::Retransmits,
        Self::Endpoint,
        Self::Peer,
    ];

    /// As it is said.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Network => "RTT of the network",
            Self::Container => "RTT of the container",
            Self::Retransmits => "retransmissions",
            Self::Endpoint => "endpoint",
            Self::Peer => "peer",
        }
    }

    fn on(self, steps: isize) -> Self {
        let at = Self::ALL.iter().position(|&sort| sort == self);
        let len = Self::ALL.len().cast_signed();
        let next = (at.unwrap_or_default().cast_signed() + steps).rem_euclid(len);
        Self::ALL
            .get(next.cast_unsigned())
            .copied()
            .unwrap_or(Self::Rate)
    }
}

/// A place in rows that come, go and change places: it stays with its row.
#[derive(Debug, Clone)]
pub(super) struct Cursor<T> {
    selected: Option<T>,
    /// Where that was last.
    at: usize,
    /// First row in sight.
    pub(super) top: usize,
    /// Rows there is room for.
    room: usize,
}

impl<T> Default for Cursor<T> {
    fn default() -> Self {
        Self {
            selected: None,
            at: 0,
            top: 0,
            room: 0,
        }
    }
}

impl<T: PartialEq + Clone> Cursor<T> {
    /// Is it on this one?
    pub(super) fn is_on(&self, row: &T) -> bool {
        self.selected.as_ref() == Some(row)
    }

    /// What it is on.
    pub(super) const fn selected(&self) -> Option<&T> {
        self.selected.as_ref()
    }

    /// Nothing is selected, and the first row is in sight.
    fn leave(&mut self) {
        self.selected = None;
        self.top = 0;
    }

    /// So many rows on. The first step selects the first row in sight.
    fn step(&mut self, rows: &[T], by: isize) {
        let here = rows.iter().position(|row| self.is_on(row));
        let next = match here {
            Some(at) => at.saturating_add_signed(by),
            None if by.unsigned_abs() > 1 => self.top.saturating_add_signed(by),
            None => self.top,
        };
        self.go_to(rows, next);
    }

    fn go_to(&mut self, rows: &[T], at: usize) {
        self.at = at.min(rows.len().saturating_sub(1));
        self.selected = rows.get(self.at).cloned();
        self.settle(rows, self.room);
    }

    /// Rows have changed, or there is other room: what is selected stays in sight. When it is gone
    /// the row in its place is selected.
    fn settle(&mut self, rows: &[T], room: usize) {
        self.room = room;
        if self.selected.is_some() {
            if let Some(at) = rows.iter().position(|row| self.is_on(row)) {
                self.at = at;
            } else {
                self.at = self.at.min(rows.len().saturating_sub(1));
                self.selected = rows.get(self.at).cloned();
            }
            self.top = self
                .top
                .min(self.at)
                .max((self.at + 1).saturating_sub(room));
        }
        self.top = self.top.min(rows.len().saturating_sub(room));
    }
}

/// Rows that there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) talks: usize,
    pub(super) violations: usize,
    pub(super) flows: usize,
}

/// What became of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Draw what has changed.
    Draw,
    /// Draw everything anew.
    Redraw,
    /// End the watch.
    Quit,
}

impl View {
    /// Nothing yet.
    pub(super) fn new(now: Moment) -> Self {
        Self {
            live: State::new(now),
            paused: None,
            page: Page::Overview,
            pane: Pane::Talks,
            shows_help: false,
            sort: Sort::Rate,
            is_reversed: false,
            filter: Filter::default(),
            is_typing: false,
            talks: Cursor::default(),
            violations: Cursor::default(),
            flows: Cursor::default(),
            message: None,
        }
    }

    /// Adds what was told.
    pub(super) fn take(&mut self, interval: Interval) {
        self.live.take(interval);
    }

    /// What is looked at.
    pub(super) fn shown(&self) -> &State {
        self.paused.as_deref().unwrap_or(&self.live)
    }

    /// What there is, also when something else is looked at.
    pub(super) const fn live(&self) -> &State {
        &self.live
    }

    /// Does the picture stand still?
    pub(super) const fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// What keys are read for.
    pub(super) const fn mode(&self) -> Mode {
        if self.is_typing {
            Mode::Type
        } else if self.shows_help {
            Mode::Help
        } else {
            Mode::Browse
        }
    }

    /// Rows have changed, or there is other room.
    pub(super) fn settle(&mut self, room: Room) {
        let talks = self.talk_keys();
        self.talks.settle(&talks, room.talks);
        let violations = self.violation_keys();
        self.violations.settle(&violations, room.violations);
        let flows = self.flow_keys();
        self.flows.settle(&flows, room.flows);
    }

    /// Does what a key asked for.
    pub(super) fn act(&mut self, action: Action) -> Then {
        match action {
            Action::Quit => return Then::Quit,
            Action::Redraw => return Then::Redraw,
            Action::Help => self.shows_help = !self.shows_help,
            Action::Back => self.back(),
            Action::Enter => self.enter(),
            Action::Move(by) => self.step(by),
            Action::Page(pages) => {
                let room = self.room().max(1).cast_signed();
                self.step(pages.saturating_mul(room));
            }
            Action::First => self.step(isize::MIN),
            Action::Last => self.step(isize::MAX),
            Action::NextPane => {
                self.pane = match self.pane {
                    Pane::Talks => Pane::Violations,
                    Pane::Violations => Pane::Talks,
                };
                if self.pane == Pane::Violations && self.violations.selected().is_none() {
                    self.step(0);
                }
            }
            Action::Sort(steps) => self.sort = self.sort.on(steps),
            Action::Reverse => self.is_reversed = !self.is_reversed,
            Action::Pause => {
                self.paused = match self.paused {
                    None => Some(Box::new(self.live.clone())),
                    Some(_) => None,
                }
            }
            Action::Filter => {
                self.page = Page::Overview;
                self.is_typing = true;
            }
            Action::Type(char) => self.filter.push(char),
            Action::Erase => self.filter.pop(),
            Action::EraseAll => {
                self.filter.clear();
                self.is_typing = false;
            }
            Action::Typed => self.is_typing = false,
        }
        Then::Draw
    }

    fn back(&mut self) {
        match &self.page {
            Page::Flow(talk, _) => self.page = Page::Talk(Arc::clone(talk)),
            Page::Talk(_) => self.page = Page::Overview,
            Page::Overview if self.pane == Pane::Violations => {
                self.violations.leave();
                self.pane = Pane::Talks;
            }
            Page::Overview if !self.filter.is_empty() => self.filter.clear(),
            Page::Overview => self.talks.leave(),
        }
    }

    fn enter(&mut self) {
        let next = match (&self.page, self.pane) {
            (Page::Overview, Pane::Talks) => self.talks.selected().cloned().map(Page::Talk),
            (Page::Overview, Pane::Violations) => {
                let number = self.violations.selected();
                let groups = self.groups();
                let group = groups.iter().find(|group| Some(&group.number) == number);
                group.map(|group| Page::Talk(Arc::clone(&group.talk)))
            }
            (Page::Talk(talk), _) => {
                let flow = self.flows.selected();
                flow.map(|&flow| Page::Flow(Arc::clone(talk), flow))
            }
            (Page::Flow(..), _) => None,
        };
        match next {
            Some(page) => {
                if matches!(page, Page::Talk(_)) {
                    self.flows.leave();
                }
                self.page = page;
            }
            None => self.step(0),
        }
    }

    fn room(&self) -> usize {
        match (&self.page, self.pane) {
            (Page::Overview, Pane::Talks) => self.talks.room,
            (Page::Overview, Pane::Violations) => self.violations.room,
            (Page::Talk(_) | Page::Flow(..), _) => self.flows.room,
        }
    }

    fn step(&mut self, by: isize) {
        match (&self.page, self.pane) {
            (Page::Overview, Pane::Talks) => {
                let rows = self.talk_keys();
                self.talks.step(&rows, by);
            }
            (Page::Overview, Pane::Violations) => {
                let rows = self.violation_keys();
                self.violations.step(&rows, by);
            }
            (Page::Talk(_), _) => {
                let rows = self.flow_keys();
                self.flows.step(&rows, by);
            }
            (Page::Flow(talk, _), _) => {
                let talk = Arc::clone(talk);
                let rows = self.flow_keys();
                self.flows.step(&rows, by);
                if let Some(&flow) = self.flows.selected() {
                    self.page = Page::Flow(talk, flow);
                }
            }
        }
    }

    /// The talks that are looked at, in their order.
    pub(super) fn talk_rows(&self) -> Vec<(&Arc<Talk>, &TalkNow)> {
        let talks = self.shown().talks.iter();
        let mut rows: Vec<_> = talks
            .filter(|(talk, now)| self.filter.accepts_talk(talk, now))
            .collect();
        rows.sort_by(|a, b| self.compare(a, b).then_with(|| a.0.cmp(b.0)));
        rows
    }

    fn compare(
        &self,
        (a_talk, a): &(&Arc<Talk>, &TalkNow),
        (b_talk, b): &(&Arc<Talk>, &TalkNow),
    ) -> Ordering {
        let most = |of: fn(&TalkNow) -> f64| of(b).total_cmp(&of(a));
        let order = match self.sort {
            Sort::Rate => most(|talk| talk.history.calm()),
            Sort::Sent => most(|talk| talk.rates.sent),
            Sort::Received => most(|talk| talk.rates.received),
            Sort::Network => most(|talk| talk.network.unwrap_or(-1.0)),
            Sort::Container => most(|talk| talk.container.unwrap_or(-1.0)),
            Sort::Retransmits => b.retransmits.cmp(&a.retransmits),
            Sort::Endpoint => a_talk.endpoint.cmp(&b_talk.endpoint),
            Sort::Peer => a_talk.peer.cmp(&b_talk.peer),
        };
        if self.is_reversed {
            order.reverse()
        } else {
            order
        }
    }

    /// The groups of violations that are looked at.
    pub(super) fn groups(&self) -> Vec<&Group> {
        let mut groups = self.shown().violations.newest_first();
        groups.retain(|group| self.filter.accepts_group(group));
        groups
    }

    /// The flows of the talk that is looked at: those that send most first, ended ones last.
    pub(super) fn flow_rows(&self) -> Vec<(&FlowKey, &FlowNow)> {
        let (Page::Talk(talk) | Page::Flow(talk, _)) = &self.page else {
            return Vec::new();
        };
        let flows = self.shown().flows.iter();
        let mut rows: Vec<_> = flows.filter(|(_, flow)| flow.talk == *talk).collect();
        rows.sort_by(|(a_key, a), (b_key, b)| {
            let rate = |rates: Rates| rates.both();
            let began = |flow: &FlowNow| flow.flow.stats.first_ns;
            let ended = a.ended.is_some().cmp(&b.ended.is_some());
            ended
                .then_with(|| rate(b.rates).total_cmp(&rate(a.rates)))
                .then_with(|| began(b).cmp(&began(a)))
                .then_with(|| a_key.local_port.cmp(&b_key.local_port))
                .then_with(|| a_key.remote_port.cmp(&b_key.remote_port))
        });
        rows
    }

    fn talk_keys(&self) -> Vec<Arc<Talk>> {
        let rows = self.talk_rows();
        rows.into_iter().map(|(talk, _)| Arc::clone(talk)).collect()
    }

    fn violation_keys(&self) -> Vec<u64> {
        self.groups().iter().map(|group| group.number).collect()
    }

    fn flow_keys(&self) -> Vec<FlowKey> {
        self.flow_rows().into_iter().map(|(key, _)| *key).collect()
    }
}
