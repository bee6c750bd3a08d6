"""Many runs to find good values. A sweep is a driver: it gives runs their values and reads the reports' metrics, and knows of no trainer."""
