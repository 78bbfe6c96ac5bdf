//! `flowmon demo`

use super::{Exit, Failure, runtime, watch};
use crate::{
    cli::DemoArgs,
    lab::{self, DemoNetwork},
};

/// Everything lives in anonymous network namespaces: however the process ends, the kernel removes
/// them.
pub(super) fn run(args: DemoArgs) -> Result<Exit, Failure> {
    let network = DemoNetwork::new()?;
    let bridge = network.lab().bridge().to_owned();
    for pod in network.pods() {
        let addresses: Vec<String> = pod
            .addresses
            .iter()
            .map(|net| net.ip().to_string())
            .collect();
        tracing::info!(
            "{:<5} is behind {} with {}",
            pod.name,
            pod.interface,
            addresses.join(" and ")
        );
    }
    let traffic = network.start_traffic()?;
    network.lab().node().enter()?;
    let watched = runtime()?.block_on(watch::watch(&args.settings(&bridge)));
    traffic.stop();
    let exit = watched?;
    tracing::info!("to watch a real bridge: flowmon watch --iface cni0 (or docker0, or all)");
    Ok(exit)
}

impl From<lab::Error> for Failure {
    fn from(error: lab::Error) -> Self {
        Self::new(Exit::CannotObserve, error)
    }
}
