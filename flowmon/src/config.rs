//! What configuration files say, read strictly: what nobody knows is an error, with its place.
#![forbid(unsafe_code)]

pub mod web;

use std::sync::Arc;

pub use crate::policy::{Place, Problem};

use crate::policy::document::{self, Cursor, Findings};

/// A section of a file, and what there can be in it.
pub type Section = (&'static str, &'static [Key]);

/// A key, and the option of the command line that it stands for.
pub type Key = (&'static str, &'static str);

/// Something that a file sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The option that it stands for.
    pub option: &'static str,
    /// Each value, and where it stands.
    pub values: Vec<(String, Place)>,
    /// Where it stands.
    pub place: Place,
    /// A list, if only of one value.
    pub is_list: bool,
}

/// Reads a file that has these sections. A key without a value sets nothing. `judge` tells what is
/// wrong with values, and where.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(
    file: &Arc<str>,
    text: &str,
    sections: &[Section],
    judge: impl Fn(&Setting) -> Vec<(Place, String)>,
) -> Result<Vec<Setting>, Vec<Problem>> {
    document::alone(file, text, |whole, findings| {
        let mut settings = Vec::new();
        let mut fields = whole.fields(findings);
        for (section, keys) in sections {
            let Some(section) = fields.get(section) else {
                continue;
            };
            let mut fields = section.fields(findings);
            for (key, option) in *keys {
                let Some(at) = fields.get(key) else { continue };
                let setting = setting(file, option, &at, findings);
                for (place, says) in judge(&setting) {
                    findings.error_at(place, "wrong-type", says);
                }
                settings.push(setting);
            }
            fields.end(findings);
        }
        fields.end(findings);
        settings
    })
    .map_err(by_place)
}

fn by_place(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
    problems
}

fn setting(
    file: &Arc<str>,
    option: &'static str,
    at: &Cursor<'_, '_>,
    findings: &mut Findings<'_>,
) -> Setting {
    let mut values = Vec::new();
    for at in at.one_or_more(findings) {
        let value = at.scalar(findings);
        values.extend(value.map(|value| (value, at.place(file))));
    }
    Setting {
        option,
        values,
        place: at.place(file),
        is_list: at.is_list(),
    }
}
