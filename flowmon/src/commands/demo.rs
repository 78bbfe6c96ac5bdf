//! `flowmon demo`

use super::{Exit, Failure, runtime, watch};
use crate::{
    cli::DemoArgs,
    lab::{self, DemoNetwork, Registration},
    policy,
    settings::{Judging, Watch},
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
    let mut settings = args.settings(&bridge);
    match network.register() {
        Ok(registration) => introduce(registration, &mut settings),
        Err(error) => tracing::warn!(%error, "the pods are without names, and not judged"),
    }
    let watched = runtime()?.block_on(watch::watch(&settings));
    traffic.stop();
    // Violations are there to be seen: they are no failure of the demo.
    watched?;
    tracing::info!("to watch a real bridge: flowmon watch --iface cni0 (or docker0, or all)");
    Ok(Exit::Done)
}

/// Has the watch know who the pods are, and judge them: by its own policies, if others are not named.
fn introduce(registration: Registration, settings: &mut Watch) {
    settings.places.cni_results = registration.cni_results;
    settings.places.inventory.push(registration.inventory);
    let judging = settings.judging.get_or_insert_with(|| Judging {
        policies: vec![registration.policies],
        inventory: Vec::new(),
        corners: policy::Settings::default(),
    });
    judging.inventory.clone_from(&settings.places.inventory);
}

impl From<lab::Error> for Failure {
    fn from(error: lab::Error) -> Self {
        Self::new(Exit::CannotObserve, error)
    }
}
