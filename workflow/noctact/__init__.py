"""Six recurrent networks that classify human actions in night-time video, compared honestly."""
