//! `flowmon demo`

use super::{Exit, Failure, runtime, watch};
use crate::cli::DemoArgs;

pub(super) fn run(args: DemoArgs) -> Result<Exit, Failure> {
    let settings = args.settings("cni0");
    runtime()?.block_on(watch::watch(&settings))?;
    Ok(Exit::Done)
}
