"""``python -m gradcheck_suite`` is ``gradcheck``."""

from gradcheck_suite.cli import main

if __name__ == "__main__":
    main()
