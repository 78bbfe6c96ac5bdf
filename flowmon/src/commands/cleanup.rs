//! `flowmon cleanup`

use std::fmt::Write as _;

use super::{Exit, Failure, print, runtime};
use crate::{kernel, netlink, sinks::escaped};

pub(super) fn run() -> Result<Exit, Failure> {
    let interfaces = runtime()?.block_on(netlink::list())?;
    let mut removed = kernel::remove_leftovers()?;
    let mut text = String::new();
    match kernel::remove_left() {
        Ok(left) => {
            removed.extend(left.filters);
            if left.pins {
                text += "removed what a daemon left pinned\n";
            }
        }
        Err(kernel::Error::Running) => {
            text += "a flowmon daemon is running here: what is its own stays\n";
        }
        Err(error) => return Err(error.into()),
    }
    for ifindex in &removed {
        let found = interfaces.iter().find(|found| found.ifindex == *ifindex);
        let name = found.map_or_else(Default::default, |found| escaped(&found.name));
        let _infallible = writeln!(text, "removed a filter from {name}");
    }
    if text.is_empty() {
        text += "nothing was left behind\n";
    }
    print(&text)?;
    Ok(Exit::Done)
}
