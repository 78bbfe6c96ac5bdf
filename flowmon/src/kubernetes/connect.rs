//! How the API server is reached: as a pod of the cluster, or as a kubeconfig says.

use std::{path::Path, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::identity::Trouble;

/// To connect may take so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client; of the API server that `kubeconfig` names if there is one, else of the cluster that this
/// is a pod of, else of the server that the user's own kubeconfig names.
pub(super) async fn client(kubeconfig: Option<&Path>) -> Result<Client, Trouble> {
    let mut config = config(kubeconfig).await.map_err(Trouble::Broken)?;
    config.connect_timeout = Some(PATIENCE);
    // When to ask again is ours to say.
    config.default_retry = false;
    let exec = config.auth_info.exec.as_ref();
    let plugin = exec.and_then(|exec| exec.command.clone());
    Client::try_from(config).map_err(|error| Trouble::Broken(unusable(&error, plugin.as_deref())))
}

fn unusable(error: &kube::Error, plugin: Option<&str>) -> String {
    let remedy = match (error, plugin) {
        (kube::Error::Auth(_), Some(plugin)) => format!(
            ": the kubeconfig has `{plugin}` run for credentials, which must work for who runs \
             flowmon; a kubeconfig with a token needs no such program"
        ),
        _ => String::new(),
    };
    format!("connecting to the API server: {error}{remedy}")
}

async fn config(kubeconfig: Option<&Path>) -> Result<Config, String> {
    let options = KubeConfigOptions::default();
    if let Some(path) = kubeconfig {
        let failed = |error| format!("{}: {error}", path.display());
        let read = Kubeconfig::read_from(path).map_err(failed)?;
        let config = Config::from_custom_kubeconfig(read, &options).await;
        return config.map_err(failed);
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Config::incluster().map_err(|error| {
            format!("{error}: is the pod's service account token mounted (automountServiceAccountToken)?")
        });
    }
    Config::from_kubeconfig(&options).await.map_err(|error| {
        format!("this is no pod of a cluster, and {error}; --kubeconfig names another file")
    })
}
