"""The web page in a real Chromium, on a real run.

    make test-browser                                            # all of it; fetches a Chromium where there is none
    .venv/bin/pytest tests/browser -k matrix                     # some of it
    HEADED=1 .venv/bin/pytest tests/browser -k matrix            # in a window, each step slowed down so that it can be seen
    HEADED=1 PWDEBUG=1 .venv/bin/pytest tests/browser -k matrix  # with Playwright's inspector: stop, step, try selectors

A test that fails says what the browser complained of and where the picture of the page is that it saved.

`conftest.py` says which fixtures there are; `checks.py` what can be asked of a page (`axe`, `no_sideways_scroll`, `assert_inert`);
`watch.py` what makes every test fail, asked or not; `hostile.py` is the run that means ill; `screenshots.py` takes the pictures of
README and docs; `chromium.py` finds or makes the browser.
"""
