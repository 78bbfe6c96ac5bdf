//! What a key means. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// End the watch.
    Quit,
    /// Show or hide the keys.
    Help,
    /// Leave: the page, else the filter, else the selection.
    Back,
    /// Into what is selected.
    Enter,
    /// So many rows on.
    Move(isize),
    /// So many pages on.
    Page(isize),
    /// To the first row.
    First,
    /// To the last one.
    Last,
    /// To the other pane.
    NextPane,
    /// By the next column, or the one before.
    Sort(isize),
    /// The other way round.
    Reverse,
    /// Stand still, or go on.
    Pause,
    /// Begin to type a filter.
    Filter,
    /// Add to it.
    Type(char),
    /// Take a character from it.
    Erase,
    /// Take it all.
    EraseAll,
    /// It is as it should be.
    Typed,
    /// Draw everything anew.
    Redraw,
}

/// What keys are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Moving around.
    Browse,
    /// Typing a filter.
    Type,
    /// Reading what the keys are.
    Help,
}

/// What `key` means; none when nothing.
pub(super) const fn action(key: KeyEvent, mode: Mode) -> Option<Action> {
    if matches!(key.kind, KeyEventKind::Release) {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('l') => Some(Action::Redraw),
            KeyCode::Char('u') if matches!(mode, Mode::Type) => Some(Action::EraseAll),
            KeyCode::Char('h') if matches!(mode, Mode::Type) => Some(Action::Erase),
            _ => None,
        };
    }
    match mode {
        Mode::Type => typed(key.code),
        Mode::Help => Some(match key.code {
            KeyCode::Char('q') => Action::Quit,
            _ => Action::Help,
        }),
        Mode::Browse => browsed(key.code),
    }
}

const fn typed(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Char(char) => Action::Type(char),
        KeyCode::Backspace => Action::Erase,
        KeyCode::Enter => Action::Typed,
        KeyCode::Esc => Action::EraseAll,
        KeyCode::Down => Action::Move(1),
        KeyCode::Up => Action::Move(-1),
        _ => return None,
    })
}

const fn browsed(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Action::Help,
        KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => Action::Back,
        KeyCode::Enter | KeyCode::Right => Action::Enter,
        KeyCode::Down | KeyCode::Char('j') => Action::Move(1),
        KeyCode::Up | KeyCode::Char('k') => Action::Move(-1),
        KeyCode::PageDown => Action::Page(1),
        KeyCode::PageUp => Action::Page(-1),
        KeyCode::Home | KeyCode::Char('g') => Action::First,
        KeyCode::End | KeyCode::Char('G') => Action::Last,
        KeyCode::Tab | KeyCode::BackTab => Action::NextPane,
        KeyCode::Char('s' | '>') => Action::Sort(1),
        KeyCode::Char('S' | '<') => Action::Sort(-1),
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char(' ' | 'p') => Action::Pause,
        KeyCode::Char('/') => Action::Filter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(code: KeyCode, mode: Mode) -> Option<Action> {
        action(KeyEvent::new(code, KeyModifiers::NONE), mode)
    }

    #[test]
    fn letters_are_commands_or_text() {
        let q = KeyCode::Char('q');
        assert_eq!(pressed(q, Mode::Browse), Some(Action::Quit));
        assert_eq!(pressed(q, Mode::Help), Some(Action::Quit));
        assert_eq!(pressed(q, Mode::Type), Some(Action::Type('q')));
        assert_eq!(pressed(KeyCode::Char('x'), Mode::Browse), None);
        assert_eq!(pressed(KeyCode::Char('x'), Mode::Help), Some(Action::Help));
    }

    #[test]
    fn control_c_ends_it_whatever_is_on() {
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for mode in [Mode::Browse, Mode::Type, Mode::Help] {
            assert_eq!(action(key, mode), Some(Action::Quit));
        }
    }

    #[test]
    fn to_let_go_of_a_key_means_nothing() {
        let mut key = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        key.kind = KeyEventKind::Release;
        assert_eq!(action(key, Mode::Browse), None);
    }
}
