//! Who holds, for people to read: where it can be seen what they do.

use crate::cli::input;
use crate::core::limits::OWNER_BYTES_MAX;

/// Where CI systems say the address of a job: each the pieces of one, a name of a variable with `$`.
const JOB_URLS: [&[&str]; 9] = [
    // GitHub Actions, and Gitea's
    &[
        "$GITHUB_SERVER_URL",
        "/",
        "$GITHUB_REPOSITORY",
        "/actions/runs/",
        "$GITHUB_RUN_ID",
    ],
    // GitLab
    &["$CI_JOB_URL"],
    // Buildkite
    &["$BUILDKITE_BUILD_URL", "#", "$BUILDKITE_JOB_ID"],
    // CircleCI
    &["$CIRCLE_BUILD_URL"],
    // Jenkins
    &["$BUILD_URL"],
    // Azure Pipelines
    &[
        "$SYSTEM_TEAMFOUNDATIONCOLLECTIONURI",
        "$SYSTEM_TEAMPROJECT",
        "/_build/results?buildId=",
        "$BUILD_BUILDID",
    ],
    // Travis CI
    &["$TRAVIS_JOB_WEB_URL"],
    // Drone
    &["$DRONE_BUILD_LINK"],
    // Woodpecker
    &["$CI_PIPELINE_URL"],
];

/// The CI job's address, or `user@host:pid`.
pub fn default_owner() -> String {
    job_url(|name| std::env::var(name).ok())
        .unwrap_or_else(|| input::user_at_host(std::process::id()))
}

fn job_url(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    JOB_URLS.iter().find_map(|pieces| {
        let url: Option<String> = pieces
            .iter()
            .map(|piece| match piece.strip_prefix('$') {
                Some(name) => variable(name).filter(|value| !value.is_empty()),
                None => Some((*piece).to_owned()),
            })
            .collect();
        url.filter(|url| url.len() <= OWNER_BYTES_MAX && !url.contains(char::is_control))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(variables: &[(&str, &str)]) -> Option<String> {
        job_url(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_job_of_a_ci_system_is_known_by_its_address() {
        let github = [
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "me/it"),
            ("GITHUB_RUN_ID", "7"),
        ];
        let at = "https://github.com/me/it/actions/runs/7";
        assert_eq!(url(&github).as_deref(), Some(at));
        assert_eq!(url(&github[..2]), None);
        let jenkins = [("BUILD_URL", "https://ci/job/a/7/"), ("CI_JOB_URL", "")];
        assert_eq!(url(&jenkins).as_deref(), Some("https://ci/job/a/7/"));
    }

    #[test]
    fn an_address_that_the_server_would_refuse_is_none() {
        assert_eq!(url(&[("BUILD_URL", &"x".repeat(513))]), None);
        assert_eq!(url(&[("BUILD_URL", "a\nb")]), None);
    }
}
