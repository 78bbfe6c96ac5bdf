//! `flowmon doctor`

use std::fmt::Write as _;

use super::{Exit, Failure, print, runtime};
use crate::{
    clock::Clock,
    identity::Trouble,
    kernel::{self, Finding},
    netlink, pipeline,
    settings::Places,
    sinks::escaped,
};

pub(super) fn run(places: &Places) -> Result<Exit, Failure> {
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
        let _infallible = writeln!(text, "{mark}  {:<17}  {said}", check.name);
    }
    text += &identities(places);
    text += match exit {
        Exit::Done => "flowmon can watch here.\n",
        _ => "flowmon can't watch here: see what is missing above.\n",
    };
    print(&text)?;
    Ok(exit)
}

/// Who can tell whom flows are between. Nobody is needed for watching.
fn identities(places: &Places) -> String {
    let survey = async {
        let interfaces = netlink::list().await.unwrap_or_default();
        pipeline::survey(places, &interfaces, &Clock::new().now()).await
    };
    let Ok(survey) = runtime().map(|runtime| runtime.block_on(survey)) else {
        return String::new();
    };
    let mut text = String::new();
    for (source, state) in &survey.sources {
        let (mark, said) = match state {
            Ok(known) => match survey.disagreements.get(source) {
                None => ("ok      ", format!("knows {known} endpoints")),
                Some(times) => (
                    "degraded",
                    format!(
                        "knows {known} endpoints, and of {times} interfaces says something else than \
                         a source nearer to the kernel, which is believed"
                    ),
                ),
            },
            Err(Trouble::Absent(why)) => ("absent  ", why.clone()),
            Err(Trouble::Broken(why)) => ("degraded", why.clone()),
        };
        let name = format!("names: {}", source.label());
        let _infallible = writeln!(text, "{mark}  {name:<17}  {}", escaped(&said));
    }
    text
}
