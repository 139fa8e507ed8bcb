"""Videos, figures and reports of trials. Importing this package imports neither MuJoCo nor matplotlib."""
