"""The site: settings, addresses, servers."""

from orchestrator_site.lean import load_when_used

# Before Django is imported: it reads SQL with this when it migrates, and imports it always.
load_when_used("sqlparse")
