"""What the commands of the command line do; ``gradcheck_suite.cli`` declares their options."""
