//! What holds of any text that is taken for a scenario.

use flowmon::{
    policy::{Place, Problem},
    scenario,
};

/// It is read to its end, whoever is meant is found, and whatever is said of it has a place in it.
pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let lines: Vec<usize> = text.split('\n').map(str::len).collect();
    let cells =
        scenario::read(&"file".into(), text).and_then(|scenario| scenario.cells(&scenario.cast));
    match cells {
        Ok(cells) => {
            for cell in &cells {
                let (from, to) = (&cell.connection.initiator, &cell.connection.responder);
                assert_eq!(from.address.is_ipv4(), to.address.is_ipv4());
                is_inside(&cell.expected.from.place, &lines);
                is_inside(&cell.expected.to.place, &lines);
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for Problem { place, message, .. } in &problems {
                assert!(!message.is_empty());
                is_inside(place, &lines);
            }
        }
    }
}

/// The place is in the text, or just behind its end; columns are of the line that is named.
fn is_inside(place: &Place, lines: &[usize]) {
    let line = place.line as usize;
    assert!(line <= lines.len(), "{line} of {} lines", lines.len());
    let Some(length) = line.checked_sub(1).and_then(|line| lines.get(line)) else {
        return;
    };
    let column = place.column as usize;
    assert!(column <= length + 1, "{column} of {length} columns");
}
