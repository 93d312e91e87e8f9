"""What a forked pytest finds done (see `forked`): the heavy imports, and the templates compiled.

Not the plugin itself, which pytest imports, nor what else it would rewrite.
"""

import gc
import importlib

import ruptures  # noqa: F401
import scipy.interpolate
import scipy.stats  # noqa: F401
from _pytest.config import default_plugins

import append_prefill.report.write
import append_prefill.run.folders
import append_prefill.run.hosts
import append_prefill.run.outcome
import append_prefill.run.outlook
import append_prefill.run.session  # noqa: F401
import tests.forked  # noqa: F401
from append_prefill.engines.describe import client_of
from append_prefill.report.templating import ENVIRONMENT

for name in default_plugins:
    importlib.import_module(f"_pytest.{name}")
for name in ENVIRONMENT.list_templates():
    ENVIRONMENT.get_template(name)
client_of("http://localhost").close()  # what TLS needs once a process
# Of all this nothing is ever garbage: whoever is forked need not look through it.
gc.collect()
gc.freeze()
