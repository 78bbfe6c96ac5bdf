//! `flowmon doctor`

use std::fmt::Write as _;

use super::{Exit, Failure, print};
use crate::kernel::{self, Finding};

pub(super) fn run() -> Result<Exit, Failure> {
    let checks = kernel::diagnose();
    let mut text = String::new();
    let mut exit = Exit::Done;
    for check in &checks {
        let (mark, said) = match &check.finding {
            Finding::Works(said) => ("ok      ", said),
            Finding::Degraded(said) => ("degraded", said),
            Finding::Missing(said) => {
                exit = Exit::CannotObserve;
                ("missing ", said)
            }
            Finding::Unknown(said) => ("unknown ", said),
        };
        let _infallible = writeln!(text, "{mark}  {:<16}  {said}", check.name);
    }
    text += match exit {
        Exit::Done => "flowmon can watch here.\n",
        _ => "flowmon can't watch here: see what is missing above.\n",
    };
    print(&text)?;
    Ok(exit)
}
