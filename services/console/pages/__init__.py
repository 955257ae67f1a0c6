"""The pages, a file for each subject: what is asked of a service, and what is made of its answer."""
