"""What a run measured, as pages: reads json and png only, and never touches a device."""
