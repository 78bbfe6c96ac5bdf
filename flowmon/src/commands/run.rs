//! `flowmon run`

use std::{
    net::TcpListener,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use tokio::signal::unix::{SignalKind, signal};

use super::{
    Exit, Failure, documents, print, reload, runtime,
    watch::{Stop, node_name},
};
use crate::{
    cli::RunArgs,
    clock::Clock,
    http::{self, Guard},
    kernel, pipeline,
    settings::{Log, Run, Watch},
    sinks::{Exposition, Json, LastWord, LogFile, Logged, Prometheus, Sinks, Text, Writer},
};

/// What needs privileges comes first, and each thread would keep them that is started before they are
/// given up.
pub(super) fn run(settings: &Run) -> Result<Exit, Failure> {
    let listener = TcpListener::bind(settings.listen).map_err(|error| {
        let listen = settings.listen;
        let hint = "--listen names another address";
        Failure::new(
            Exit::Usage,
            format_args!("cannot serve metrics at {listen}: {error}; {hint}"),
        )
    })?;
    let guard = settings.web_config.as_deref().map(guard).transpose()?;
    let log = settings.log.as_ref();
    let log = log.map(|log| Ok::<_, Failure>((open(log)?, log.filter.clone())));
    let log = log.transpose()?;
    kernel::give_up_privileges()?;

    let (prometheus, exposition) = Prometheus::new(settings.max_series, settings.label_port);
    let mut sinks = Sinks::default().and(prometheus).and(LastWord);
    if let Some(((file, lost), filter)) = log {
        let (writer, _) = Writer::to(file);
        let text = Text::new(Json::new(node_name()), writer);
        sinks = sinks.and(Logged::new(text, lost, filter));
    }
    if let Ok(address) = listener.local_addr() {
        let is_tls = guard.as_ref().is_some_and(Guard::is_tls);
        let scheme = if is_tls { "https" } else { "http" };
        tracing::info!("metrics are at {scheme}://{address}/metrics");
    }
    http::serve(listener, exposition, guard).map_err(pipeline::Error::Wait)?;
    runtime()?.block_on(daemon(&settings.watch, sinks))
}

/// Looks at all that a daemon would read, and prints its settings.
pub(super) fn check(args: RunArgs) -> Result<Exit, Failure> {
    print(&args.effective)?;
    let Run {
        watch, web_config, ..
    } = args.settings();
    web_config.as_deref().map(guard).transpose()?;
    let policies = watch.judging.map(|it| documents::policies(&it.policies));
    let policies = policies.transpose()?.map_or(0, |it| it.policies.len());
    let pods = documents::inventory(&watch.places.inventory)?.pods.len();
    tracing::info!("the configuration is in order: {policies} policies, {pods} pods declared");
    Ok(Exit::Done)
}

fn guard(web_config: &Path) -> Result<Guard, Failure> {
    Guard::open(web_config).map_err(|problems| {
        let told = documents::tell(&problems, "web configuration");
        told.err()
            .unwrap_or_else(|| Failure::new(Exit::Usage, "the web configuration is wrong"))
    })
}

fn open(log: &Log) -> Result<(LogFile, Arc<AtomicU64>), Failure> {
    LogFile::open(log.path.clone(), log.limits, || Clock::new().now().wall).map_err(|error| {
        let path = log.path.display();
        Failure::new(
            Exit::Usage,
            format_args!("cannot write the flow log {path}: {error}"),
        )
    })
}

async fn daemon(watch: &Watch, sinks: Sinks) -> Result<Exit, Failure> {
    // A hangup asks for things to be read again; where there is nothing of that kind, it is no reason to
    // end either.
    let _hangups = signal(SignalKind::hangup()).map_err(pipeline::Error::Wait)?;
    let (policies, declared) = reload::begin(watch, true)?;
    let stop = Stop::of_daemon().map_err(pipeline::Error::Wait)?;
    // Nobody's going ends it.
    let (_reader, never) = tokio::sync::oneshot::channel();
    Box::pin(pipeline::watch(
        watch,
        declared,
        policies,
        sinks,
        never,
        stop.asked(),
    ))
    .await?;
    Ok(Exit::Done)
}

impl http::Answers for Exposition {
    fn metrics(&self) -> Result<Vec<u8>, String> {
        Ok(self.text().into_bytes())
    }

    fn is_ready(&self) -> bool {
        self.has_begun()
    }
}
