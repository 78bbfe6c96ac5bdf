//! What is remarkable, in words.

use std::fmt::Write as _;

use crate::model::{Difference, Finding, Witnessed};

/// A line for each thing that is remarkable about an interface, by the name that is given.
pub(super) fn lines(text: &mut String, finding: &Finding, interface: &str) {
    let Difference { frames, bytes } = finding.difference;
    let (frames_more, bytes_more) = (frames.unsigned_abs(), bytes.unsigned_abs());
    // One of the two is nothing where frames were made longer or shorter, and only that.
    let less = frames < 0 || (frames == 0 && bytes < 0);
    let what = if less {
        "counted, but not seen by XDP"
    } else {
        "seen by XDP, but not counted"
    };
    if !finding.difference.is_none() {
        let _infallible = writeln!(
            text,
            "! {interface}: {frames_more} frames, {bytes_more} bytes {what}"
        );
    }
    for (reason, frames) in &finding.hygiene {
        let _infallible = writeln!(text, "! {interface}: {reason}, {frames} frames");
    }
    if let Some(scan) = finding.scan {
        let _infallible = writeln!(
            text,
            "! {interface}: scan, about {} targets, {} SYN",
            scan.targets, scan.syns
        );
    }
}

/// What the witness was good for, when it was not there everywhere.
pub(super) fn witnessed(text: &mut String, witnessed: &Witnessed) {
    let witness = &witnessed.witness;
    if witness.failed > 0 {
        let _infallible = writeln!(
            text,
            "no XDP witness on {} of {} interfaces",
            witness.failed,
            witness.failed + witness.interfaces
        );
    }
}
